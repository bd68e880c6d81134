//! Bytes written one behind another: into a `Vec`, which grows, or by a [`Pen`] into room that is there already.

/// What takes them.
pub(crate) trait Put {
    fn put(&mut self, bytes: &[u8]);

    /// So many that it takes no loop.
    fn put_array<const N: usize>(&mut self, bytes: &[u8; N]);

    /// The first of these. Where there is room for all of them it is quicker to write them all.
    fn put_first<const N: usize>(&mut self, bytes: &[u8; N], count: usize);
}

impl Put for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    #[inline]
    fn put_array<const N: usize>(&mut self, bytes: &[u8; N]) {
        self.extend_from_slice(bytes);
    }

    #[inline]
    fn put_first<const N: usize>(&mut self, bytes: &[u8; N], count: usize) {
        self.extend_from_slice(&bytes[..count.min(N)]);
    }
}

/// Writes into room that is there already, and never beyond: what does not fit is left out, and all that follows it. Where it is
/// stays in a register, while a `Vec` keeps its length in memory and reads it back for every piece.
#[derive(Debug)]
pub(crate) struct Pen<'r> {
    room: &'r mut [u8],
}

impl<'r> Pen<'r> {
    pub(crate) fn new(room: &'r mut [u8]) -> Self {
        Pen { room }
    }

    /// Bytes that there is still room for.
    pub(crate) fn left(&self) -> usize {
        self.room.len()
    }

    #[inline]
    fn advance(&mut self, count: usize) -> Option<&'r mut [u8]> {
        let (written, room) = std::mem::take(&mut self.room).split_at_mut_checked(count)?;
        self.room = room;
        Some(written)
    }
}

impl Put for Pen<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        if let Some(to) = self.advance(bytes.len()) {
            to.copy_from_slice(bytes);
        }
    }

    #[inline]
    fn put_array<const N: usize>(&mut self, bytes: &[u8; N]) {
        if let Some(to) = self.advance(N) {
            to.copy_from_slice(bytes);
        }
    }

    #[inline]
    fn put_first<const N: usize>(&mut self, bytes: &[u8; N], count: usize) {
        let count = count.min(N);
        match self.room.first_chunk_mut() {
            Some(to) => {
                *to = *bytes;
                self.advance(count);
            }
            None => self.put(&bytes[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(out: &mut impl Put) {
        out.put(b"one");
        out.put_array(b", two");
        out.put_first(b", three, four", 7);
        out.put_first(b", ", 9);
        out.put(b".");
    }

    #[test]
    fn pen_writes_what_a_vec_gets_as_far_as_there_is_room() {
        let mut whole = Vec::new();
        write(&mut whole);
        assert_eq!(whole, b"one, two, three, .");
        for room in 0..30 {
            let mut text = vec![0; room];
            let mut pen = Pen::new(&mut text);
            write(&mut pen);
            let left = pen.left();
            text.truncate(room - left);
            match room >= whole.len() {
                true => assert_eq!(text, whole),
                false => assert!(
                    whole.starts_with(text.trim_ascii_end()) || left == 0,
                    "{text:?}"
                ),
            }
        }
    }
}
