//! Fields of a line, written straight into its bytes.

use crate::digits::{seconds, whole};
use std::time::Duration;

/// One of ours: there is nothing to escape. `name`: with the quote that begins the text.
pub(crate) fn word<const N: usize>(name: &[u8; N], word: Option<&'static str>, out: &mut Vec<u8>) {
    if let Some(word) = word {
        out.extend_from_slice(name);
        out.extend_from_slice(word.as_bytes());
        out.extend_from_slice(b"\"");
    }
}

pub(crate) fn number<const N: usize>(name: &[u8; N], value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    whole(value, out);
}

/// None where it took no time: nothing was waited for, or it did not come to that.
pub(crate) fn time<const N: usize>(name: &[u8; N], value: Duration, out: &mut Vec<u8>) {
    if !value.is_zero() {
        out.extend_from_slice(name);
        seconds(value, out);
    }
}
