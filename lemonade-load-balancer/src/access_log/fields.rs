//! Fields of a line, written straight into its bytes.

use crate::bytes::Put;
use crate::digits::{seconds, whole};
use std::time::Duration;

/// One of ours: there is nothing to escape. `name`: with the quote that begins the text.
#[inline]
pub(crate) fn word<const N: usize>(name: &[u8; N], word: Option<&'static str>, out: &mut impl Put) {
    if let Some(word) = word {
        out.put_array(name);
        out.put(word.as_bytes());
        out.put_array(b"\"");
    }
}

#[inline]
pub(crate) fn number<const N: usize>(name: &[u8; N], value: u64, out: &mut impl Put) {
    out.put_array(name);
    whole(value, out);
}

/// None where it took no time: nothing was waited for, or it did not come to that.
#[inline]
pub(crate) fn time<const N: usize>(name: &[u8; N], value: Duration, out: &mut impl Put) {
    if !value.is_zero() {
        out.put_array(name);
        seconds(value, out);
    }
}
