//! Texts of a request, kept as a line of the access log tells them.

use crate::proxy::access_log::text::{escaped, is_plain};

/// Texts as JSON, one behind another, each with its name before it.
#[derive(Debug)]
pub(super) struct Texts<const N: usize> {
    pub(super) json: Vec<u8>,
    /// As they came, those that had to be escaped.
    raw: Vec<u8>,
    places: [Place; N],
}

/// Where one of them is by itself.
#[derive(Clone, Copy, Debug)]
struct Place {
    begin: u32,
    end: u32,
    is_raw: bool,
}

const NOWHERE: Place = Place {
    begin: 0,
    end: 0,
    is_raw: false,
};

impl<const N: usize> Texts<N> {
    pub(super) const fn none() -> Self {
        Texts {
            json: Vec::new(),
            raw: Vec::new(),
            places: [NOWHERE; N],
        }
    }

    /// Makes room for others; every one of them is to be said anew.
    pub(super) fn clear(&mut self) {
        self.json.clear();
        self.raw.clear();
    }

    /// Writes a text behind its name, if it says anything. `plain`: nothing in it has to be escaped.
    pub(super) fn say<const L: usize>(
        &mut self,
        text: usize,
        name: &[u8; L],
        said: &[u8],
        plain: bool,
    ) {
        let mut place = NOWHERE;
        if !said.is_empty() {
            self.json.extend_from_slice(name);
            place.begin = self.json.len() as u32;
            debug_assert!(!plain || is_plain(said), "{said:?}");
            match plain {
                true => self.json.extend_from_slice(said),
                false => {
                    escaped(said, &mut self.json);
                    place.begin = self.raw.len() as u32;
                    place.is_raw = true;
                    self.raw.extend_from_slice(said);
                }
            }
            place.end = place.begin + said.len() as u32;
        }
        self.places[text] = place;
    }

    pub(super) fn text(&self, text: usize) -> &[u8] {
        let Place { begin, end, is_raw } = self.places[text];
        let texts = if is_raw { &self.raw } else { &self.json };
        &texts[begin as usize..end as usize]
    }

    pub(super) fn weight(&self) -> usize {
        self.json.capacity() + self.raw.capacity()
    }
}
