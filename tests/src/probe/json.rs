//! A value out of a JSON document, because a fresh machine has no program for that.

use super::{Found, tried};
use std::io::Read;

/// Prints what an RFC 6901 pointer points to in the document on standard input: strings bare, null and what is not
/// there as nothing.
pub fn value(pointer: &str) -> Found {
    let mut text = String::new();
    tried("read standard input", std::io::stdin().read_to_string(&mut text))?;
    let document: serde_json::Value = tried("standard input is no JSON", serde_json::from_str(&text))?;
    match document.pointer(pointer) {
        None | Some(serde_json::Value::Null) => println!(),
        Some(serde_json::Value::String(text)) => println!("{text}"),
        Some(other) => println!("{other}"),
    }
    Ok(())
}
