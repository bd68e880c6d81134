//! From what identifies a request, or a backend, to a number: the same on every shard, in every process and on every machine,
//! so that several balancers send a key to the same backend.
//!
//! rapidhash version 3 with its published secrets, whose output is fixed by its authors' contract. It is no secret: whoever
//! chooses his keys can choose their backend. See `docs/configuration.md` for what that gains him, and what it does not.

use crate::backend::Backend;

/// The key of these bytes. Cost: a few nanoseconds.
pub fn key(bytes: &[u8]) -> u64 {
    rapidhash::v3::rapidhash_v3(bytes)
}

/// What a backend is placed by: its address as it is written, so that order, name and weight do not matter.
pub(super) fn identity(backend: &Backend) -> u64 {
    key(backend.id.to_string().as_bytes())
}

/// The `n`th number of an endless row that a seed begins, as if drawn at random (SplitMix64: Steele, Lea & Flood 2014).
pub(super) fn draw(seed: u64, n: u64) -> u64 {
    let mut x = seed.wrapping_add((n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If this fails, balancers of two releases no longer agree.
    #[test]
    fn numbers_are_the_same_everywhere_and_for_ever() {
        let long = b"a user's name that is longer than sixteen bytes";
        let keys = [&b""[..], b"10.0.0.1:8080", long].map(key);
        assert_eq!(
            keys,
            [
                0x0338_dc4b_e2ce_cdae,
                0xa445_a1db_4665_c724,
                0x85f5_1743_6f7c_91d6
            ]
        );
        // The reference implementation's first two for the seed 1.
        let drawn = [draw(1, 0), draw(1, 1)];
        assert_eq!(drawn, [0x910a_2dec_8902_5cc1, 0xbeeb_8da1_658e_ec67]);
    }
}
