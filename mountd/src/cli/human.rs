//! Sizes and times in the words of a person who reads them in a hurry.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes with three digits and a binary unit: `0 B`, `4.0 KiB`, `123 MiB`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value < 9.95 { format!("{value:.1} {}", UNITS[unit]) } else { format!("{value:.0} {}", UNITS[unit]) }
}

/// A time span by its two largest units: `350 ms`, `4.2 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
pub fn span(d: Duration) -> String {
    let (ms, s) = (d.as_millis(), d.as_secs());
    match s {
        0 => format!("{ms} ms"),
        1..10 => format!("{:.1} s", d.as_secs_f64()),
        10..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

/// A time of day on this machine's clock, with the date if it was not today: `14:02:11`, `2026-03-01 14:02:11`.
pub fn clock(at: SystemTime) -> String {
    let local = |t: SystemTime| {
        let secs = t.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()) as libc::time_t;
        // SAFETY: an all-zero tm is valid, and both pointers live through the call.
        unsafe {
            let mut tm = std::mem::zeroed::<libc::tm>();
            libc::localtime_r(&secs, &mut tm);
            tm
        }
    };
    let (tm, today) = (local(at), local(SystemTime::now()));
    let time = format!("{:02}:{:02}:{:02}", tm.tm_hour, tm.tm_min, tm.tm_sec);
    if (tm.tm_year, tm.tm_yday) == (today.tm_year, today.tm_yday) {
        return time;
    }
    format!("{}-{:02}-{:02} {time}", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday)
}

/// So many things: `1 file`, `1,234 files`.
pub fn several(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// A count with thousands apart: `1,234,567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(c);
    }
    text
}

/// `fsd1`, `fsd1 and fsd2`, `fsd1, fsd2 and fsd3`.
pub fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let mut items: Vec<String> = items.into_iter().map(|i| i.to_string()).collect();
    match items.pop() {
        None => String::new(),
        Some(last) if items.is_empty() => last,
        Some(last) => format!("{} and {last}", items.join(", ")),
    }
}

/// Rows with their columns lined up, two blanks apart, nothing behind the last.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (4096, "4.0 KiB"),
            (1 << 20, "1.0 MiB"),
            (123 << 20, "123 MiB"),
            (1023 << 20, "1.0 GiB"),
            (u64::MAX, "16 EiB"),
        ];
        for (n, text) in cases {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn spans_have_two_units() {
        let cases =
            [(350, "350 ms"), (4200, "4.2 s"), (59_900, "59 s"), (200_000, "3 min 20 s"), (273_600_000, "3 d 4 h")];
        for (ms, text) in cases {
            assert_eq!(span(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn counts_and_lists() {
        assert_eq!(count(0), "0");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(123_456), "123,456");
        assert_eq!(list(["a", "b", "c"]), "a, b and c");
        assert_eq!(list::<&str>([]), "");
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".into(), "b".into()], vec!["long".into(), "c".into(), "d".into()]];
        assert_eq!(table(&rows), "a     b\nlong  c  d\n");
    }
}
