//! House rules that no compiler checks, as tests: `cargo test -p raidfs-tests --test tidy`. Each failure says what to do.
//!
//! Reads the working tree only; never changes it. What is exempt is listed here with its reason, or in `ratchet.txt`,
//! whose numbers may only fall.

mod licences;
mod papers;
mod ratchet;
mod rules;
mod source;
