//! What a sticky cookie says, sealed: which backend, and until when.
//!
//! A backend is named by a number that nobody can work out, or turn back into an address, without the key. The whole is signed
//! (HMAC-SHA256, cut to 128 bits), so that nobody can make one up. It is no secret between two clients that they are at the same
//! backend. Signed rather than encrypted, because there is no nonce that could come twice.

use crate::backend::BackendId;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use std::fmt;
use subtle::ConstantTimeEq;

/// A backend's number, then the time.
const SAID: usize = 8 + 4;
const SIGNATURE: usize = 16;
/// Characters of a sealed value.
pub(crate) const LENGTH: usize = 2 * (SAID + SIGNATURE);

/// What a cookie says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// Which backend: [`Seal::number`].
    pub(crate) backend: u64,
    /// Until when, in seconds since 1970; 0 is for ever.
    pub(crate) until: u32,
}

/// Makes values, and knows its own.
pub(crate) struct Seal(hmac::Key);

impl Seal {
    /// Two with one secret know each other's values.
    pub(crate) fn new(secret: &[u8]) -> Self {
        Seal(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// What a backend is called in values.
    pub(crate) fn number(&self, backend: &BackendId) -> u64 {
        let tag = self.sign(b"backend", backend.to_string().as_bytes());
        u64::from_be_bytes(first(tag.as_ref()))
    }

    /// The value that says so.
    pub(crate) fn seal(&self, said: Said) -> [u8; LENGTH] {
        let mut bytes = [0; SAID + SIGNATURE];
        bytes[..8].copy_from_slice(&said.backend.to_be_bytes());
        bytes[8..SAID].copy_from_slice(&said.until.to_be_bytes());
        let signature = self.sign(b"cookie", &bytes[..SAID]);
        bytes[SAID..].copy_from_slice(&signature.as_ref()[..SIGNATURE]);
        let mut value = [0; LENGTH];
        for (digits, byte) in value.chunks_exact_mut(2).zip(bytes) {
            digits[0] = HEX[usize::from(byte >> 4)];
            digits[1] = HEX[usize::from(byte & 15)];
        }
        value
    }

    /// What a value says; `None` if this seal did not make it.
    pub(crate) fn open(&self, value: &[u8]) -> Option<Said> {
        let bytes: [u8; SAID + SIGNATURE] = unhex(value)?;
        let (said, signature) = bytes.split_at(SAID);
        let expected = self.sign(b"cookie", said);
        // In a time that tells nothing about how much of it is right.
        let good = signature.ct_eq(&expected.as_ref()[..SIGNATURE]);
        bool::from(good).then(|| Said {
            backend: u64::from_be_bytes(first(said)),
            until: u32::from_be_bytes(first(&said[8..])),
        })
    }

    /// A signature for one purpose means nothing for another.
    fn sign(&self, purpose: &[u8], bytes: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(purpose);
        context.update(b"\0");
        context.update(bytes);
        context.sign()
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal(…)")
    }
}

/// A key that no configuration names: made at the start, and handed on to the process that takes over.
#[derive(Clone)]
pub(crate) struct MadeKey([u8; 32]);

impl MadeKey {
    pub(crate) fn new() -> Self {
        let mut key = [0; 32];
        let filled = SystemRandom::new().fill(&mut key);
        // getrandom(2) with no flags waits for the pool once, at boot, and never fails after.
        filled.expect("the kernel gives random bytes");
        MadeKey(key)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for MadeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MadeKey(…)")
    }
}

impl Serialize for MadeKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digits = self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let text: String = digits
            .map(|digit| char::from(HEX[usize::from(digit)]))
            .collect();
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for MadeKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        unhex(text.as_bytes())
            .map(MadeKey)
            .ok_or_else(|| serde::de::Error::custom("expected 64 hexadecimal digits"))
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Lower case alone: one value has one spelling.
fn unhex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(digits[0])? << 4 | digit(digits[1])?;
    }
    Some(bytes)
}

fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    std::array::from_fn(|place| bytes[place])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAYS: Said = Said {
        backend: 0x0123_4567_89ab_cdef,
        until: 1_800_000_000,
    };

    #[test]
    fn value_says_what_was_sealed_and_only_its_own_seal_believes_it() {
        let seal = Seal::new(b"a secret of some length");
        let value = seal.seal(SAYS);
        assert_eq!(seal.open(&value), Some(SAYS));
        assert_eq!(
            Seal::new(b"a secret of some length").open(&value),
            Some(SAYS)
        );
        assert_eq!(Seal::new(b"another secret of length").open(&value), None);
    }

    #[test]
    fn changed_value_is_not_believed() {
        let seal = Seal::new(b"a secret of some length");
        let value = seal.seal(SAYS);
        for place in 0..LENGTH {
            let mut forged = value;
            forged[place] = if forged[place] == b'0' { b'1' } else { b'0' };
            assert_eq!(seal.open(&forged), None, "{place}");
        }
        let upper = value.to_ascii_uppercase();
        for other in [&b""[..], b"x", &value[1..], &upper, &[0xff; LENGTH]] {
            assert_eq!(seal.open(other), None, "{}", other.escape_ascii());
        }
    }

    #[test]
    fn number_does_not_show_the_address() {
        let id = |text: &str| BackendId::new(text.parse().unwrap());
        let (a, b) = (Seal::new(b"a secret of some length"), Seal::new(b"another"));
        let number = a.number(&id("10.0.0.1:80"));
        assert_eq!(number, a.number(&id("10.0.0.1:80")));
        assert_ne!(number, a.number(&id("10.0.0.2:80")));
        assert_ne!(number, b.number(&id("10.0.0.1:80")));
    }

    #[test]
    fn made_key_is_handed_on_and_not_shown() {
        let key = MadeKey::new();
        assert_ne!(key.0, MadeKey::new().0);
        let json = serde_json::to_string(&key).unwrap();
        let same: MadeKey = serde_json::from_str(&json).unwrap();
        assert_eq!(same.0, key.0);
        assert_eq!(format!("{key:?}"), "MadeKey(…)");
        assert!(serde_json::from_str::<MadeKey>("\"00\"").is_err());
    }
}
