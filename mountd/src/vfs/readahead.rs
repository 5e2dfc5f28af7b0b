//! Which bytes of an open file to fetch before they are asked for. Pure; one for each handle.

/// What one handle reads.
#[derive(Debug, Default)]
pub struct Readahead {
    next: u64,
}

impl Readahead {
    /// Notes a read; true if it begins where the one before ended.
    pub fn sequential(&mut self, offset: u64, length: u64) -> bool {
        let follows = offset == self.next;
        self.next = offset + length;
        follows
    }
}
