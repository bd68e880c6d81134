//! What a request said of itself, as it came.

use smallvec::SmallVec;

/// One of a request's texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// Of the trace that the request is a part of: 32 digits.
    TraceId,
    RequestId,
    Method,
    Host,
    /// Of its target only the path is kept, since queries hold secrets.
    Path,
    UserAgent,
}

const COUNT: usize = 6;

/// Bytes that are kept of each, in their order: no client decides how long a line gets.
const MOST: [usize; COUNT] = [32, 128, 64, 256, 8 << 10, 1 << 10];

/// All of a request's texts, one behind another.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    /// Those of most requests fit: they lie beside what else is known of theirs.
    bytes: SmallVec<[u8; 256]>,
    ends: Ends,
}

/// Where each of them ends, in their order.
pub(super) type Ends = [u16; COUNT];

impl Texts {
    /// Says others instead, in their order. What is longer than a line tells is cut.
    pub(crate) fn say(&mut self, texts: [&[u8]; COUNT]) {
        self.bytes.clear();
        for (place, text) in texts.iter().enumerate() {
            let kept = &text[..text.len().min(MOST[place])];
            self.bytes.extend_from_slice(kept);
            // All of them together are fewer than 10,000.
            self.ends[place] = self.bytes.len() as u16;
        }
    }

    pub(crate) fn text(&self, text: Text) -> &[u8] {
        self.view().text(text)
    }

    /// About how much memory it holds beside itself.
    pub(crate) fn weight(&self) -> usize {
        match self.bytes.spilled() {
            true => self.bytes.capacity(),
            false => 0,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn ends(&self) -> &Ends {
        &self.ends
    }

    fn view(&self) -> TextsView<'_> {
        TextsView {
            bytes: &self.bytes,
            ends: &self.ends,
        }
    }
}

/// The same, wherever they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextsView<'t> {
    pub(super) bytes: &'t [u8],
    pub(super) ends: &'t Ends,
}

impl<'t> TextsView<'t> {
    pub(super) fn text(self, text: Text) -> &'t [u8] {
        let place = text as usize;
        let begin = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        let text = usize::from(begin)..usize::from(self.ends[place]);
        self.bytes.get(text).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Text; COUNT] = [
        Text::TraceId,
        Text::RequestId,
        Text::Method,
        Text::Host,
        Text::Path,
        Text::UserAgent,
    ];

    #[test]
    fn no_client_decides_how_long_a_line_gets() {
        let long = [b'x'; 10_000];
        let mut texts = Texts::default();
        texts.say([&long; COUNT]);
        assert_eq!(ALL.map(|text| texts.text(text).len()), MOST);
        assert!(MOST.iter().sum::<usize>() < usize::from(u16::MAX));
    }

    proptest! {
        #[test]
        fn texts_are_kept_as_they_came(
            said in prop::array::uniform6(prop::collection::vec(any::<u8>(), 0..32)),
            before in prop::array::uniform6(prop::collection::vec(any::<u8>(), 0..90)),
        ) {
            let mut texts = Texts::default();
            texts.say(before.each_ref().map(|text| &**text));
            texts.say(said.each_ref().map(|text| &**text));
            for (text, said) in ALL.into_iter().zip(&said) {
                prop_assert_eq!(texts.text(text), &**said);
            }
        }
    }
}
