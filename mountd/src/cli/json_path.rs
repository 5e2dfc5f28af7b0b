//! Paths in JSON, which knows text only: `path` is what can be read of it; where that is not all, `path_hex` has its bytes,
//! two digits each.

use serde_json::Value;

/// Gives an object the path as its keys `path` and, if that is no text, `path_hex`.
pub fn put(object: &mut Value, path: &[u8]) {
    object["path"] = String::from_utf8_lossy(path).into();
    if std::str::from_utf8(path).is_err() {
        object["path_hex"] = path.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_path_that_is_no_text_is_not_lost() {
        let of = |path: &[u8]| {
            let mut object = json!({});
            put(&mut object, path);
            object
        };
        assert_eq!(of("/a\nü".as_bytes()), json!({ "path": "/a\nü" }));
        assert_eq!(of(b"/a\xff\x01"), json!({ "path": "/a\u{fffd}\u{1}", "path_hex": "2f61ff01" }));
    }
}
