//! Byte buffers, lent from one pool a shard so that an idle connection holds none.
//!
//! A buffer is always initialised memory of a fixed size, so reading into it needs no `unsafe` and no zeroing per read.
//! The pools are thread-local because a shard is one thread: taking a buffer is a pop, giving it back (on drop) a push.

use std::cell::RefCell;
use std::io;
use std::ops::{Deref, DerefMut, Range};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};

/// Room for any head that the limits allow, and for a whole 64 KiB answer with its head in one read.
pub(crate) const SIZE: usize = 72 << 10;
/// For bodies that outlast a first buffer: fewer, larger system calls.
const LARGE: usize = 256 << 10;
/// Large buffers lent at once, per shard: those who come later go on with what they have. 32 MiB a shard, however many
/// clients read slowly.
const MAX_LARGE: usize = 128;
/// What a part of a message takes at least while the rest of it is awaited.
const SMALL: usize = 512;

/// Free buffers kept per shard; what exceeds this goes back to the allocator at once. [`trim`] gives back the rest of what
/// is not needed: allocating anew costs a page fault for every 4 KiB, which is more than the rest of a small request.
const KEPT: usize = 1024;
const KEPT_LARGE: usize = 32;
/// What an output buffer has at first: room for most heads.
const OUTPUT: usize = 2048;
/// One that grew past this is not kept: a head with the small body that joined it fits.
const OUTPUT_KEPT_CAPACITY: usize = 16 << 10;

#[derive(Default)]
struct Pool {
    buffers: Vec<Box<[u8]>>,
    large: Vec<Box<[u8]>>,
    outputs: Vec<Vec<u8>>,
    /// Large buffers in use.
    large_lent: usize,
    /// The fewest free buffers since the last trim, of both sizes, and the fewest outputs: nobody needed those.
    unneeded: [usize; 3],
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

/// Gives memory back that nobody has needed since the last call. Called once a second.
pub(crate) fn trim() {
    POOL.with_borrow_mut(|pool| {
        let [unneeded, unneeded_large, unneeded_outputs] = pool.unneeded;
        pool.buffers
            .truncate(pool.buffers.len() - unneeded.min(pool.buffers.len()));
        pool.large
            .truncate(pool.large.len() - unneeded_large.min(pool.large.len()));
        pool.outputs
            .truncate(pool.outputs.len() - unneeded_outputs.min(pool.outputs.len()));
        pool.unneeded = [pool.buffers.len(), pool.large.len(), pool.outputs.len()];
    });
}

impl Pool {
    fn lend(&mut self) -> Box<[u8]> {
        let lent = self
            .buffers
            .pop()
            .unwrap_or_else(|| vec![0; SIZE].into_boxed_slice());
        self.unneeded[0] = self.unneeded[0].min(self.buffers.len());
        lent
    }

    /// One of the usual size where too many large ones are lent.
    fn lend_large(&mut self) -> Box<[u8]> {
        if self.large_lent == MAX_LARGE {
            return self.lend();
        }
        self.large_lent += 1;
        let lent = self
            .large
            .pop()
            .unwrap_or_else(|| vec![0; LARGE].into_boxed_slice());
        self.unneeded[1] = self.unneeded[1].min(self.large.len());
        lent
    }

    fn lend_output(&mut self) -> Vec<u8> {
        let lent = self
            .outputs
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(OUTPUT));
        self.unneeded[2] = self.unneeded[2].min(self.outputs.len());
        lent
    }

    /// Kept only while there is room; a buffer is recognised by its size.
    fn give_back(&mut self, bytes: Box<[u8]>) {
        if bytes.len() == LARGE {
            self.large_lent -= 1;
        }
        match bytes.len() {
            SIZE if self.buffers.len() < KEPT => self.buffers.push(bytes),
            LARGE if self.large.len() < KEPT_LARGE => self.large.push(bytes),
            _ => {}
        }
    }
}

/// Bytes received and not yet dealt with. Starts without memory, takes some to read, and holds none while it is empty and
/// nothing comes: who waits for a slow peer waits for free.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    /// A body flows that keeps filling it: large memory is worth taking.
    flows: bool,
}

impl Buffer {
    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(crate) fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// A part of what is filled, counted from its front.
    pub(crate) fn part(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[self.start + range.start..self.start + range.end]
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    pub(crate) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// No room for another byte, even after moving what is there to the front or to larger memory.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= SIZE && self.len() == self.bytes.len()
    }

    /// Gives the memory back if nothing is in it.
    pub(crate) fn release(&mut self) {
        if self.is_empty() && !self.bytes.is_empty() {
            let bytes = std::mem::take(&mut self.bytes);
            POOL.with_borrow_mut(|pool| pool.give_back(bytes));
            (self.start, self.end) = (0, 0);
        }
    }

    /// Moves what is there to memory of about its size, for a wait that may be long: it grows again by itself when more
    /// comes. Costs an allocation and two copies of what is there, so not for waits that every request has.
    pub(crate) fn shrink(&mut self) {
        let size = self.len().next_power_of_two().max(SMALL);
        if self.is_empty() {
            self.release();
        } else if size <= self.bytes.len() / 2 {
            let mut small = vec![0; size].into_boxed_slice();
            small[..self.len()].copy_from_slice(self.filled());
            self.take_over(small);
        }
    }

    /// Goes on in other memory, which holds all that is filled at its front.
    fn take_over(&mut self, bytes: Box<[u8]>) {
        (self.start, self.end) = (0, self.len());
        let old = std::mem::replace(&mut self.bytes, bytes);
        POOL.with_borrow_mut(|pool| pool.give_back(old));
    }

    /// Has an empty buffer take large memory from now on, for a body that keeps filling it.
    pub(crate) fn enlarge(&mut self) {
        if self.is_empty() && self.bytes.len() < LARGE {
            self.release();
            self.flows = true;
        }
    }

    /// Whether the last read filled all the room there was: more is probably waiting.
    pub(crate) fn is_topped_up(&self) -> bool {
        self.end == self.bytes.len()
    }

    fn make_room(&mut self) {
        if self.bytes.is_empty() {
            let lend = if self.flows {
                Pool::lend_large
            } else {
                Pool::lend
            };
            self.bytes = POOL.with_borrow_mut(lend);
        }
        if self.end == self.bytes.len() && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.bytes.len() && self.end < SIZE {
            let mut larger = POOL.with_borrow_mut(Pool::lend);
            larger[..self.len()].copy_from_slice(self.filled());
            self.take_over(larger);
        }
    }

    /// Reads once into the room left; `0` is the end of the stream. The caller sees to it that there is room. While nothing
    /// comes, an empty buffer's memory goes back.
    pub(crate) fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<usize>> {
        self.make_room();
        let mut room = ReadBuf::new(&mut self.bytes[self.end..]);
        let Poll::Ready(read) = Pin::new(stream).poll_read(context, &mut room) else {
            self.release();
            return Poll::Pending;
        };
        read?;
        let count = room.filled().len();
        self.end += count;
        // What would fit into less shall wait in less.
        self.flows &= count > SIZE;
        Poll::Ready(Ok(count))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        (self.start, self.end) = (0, 0);
        // The pool is gone while the thread ends; then the memory is simply freed.
        let bytes = std::mem::take(&mut self.bytes);
        let _ = POOL.try_with(|pool| pool.borrow_mut().give_back(bytes));
    }
}

/// Bytes to be sent: a head, a reply. A pooled `Vec`.
#[derive(Debug)]
pub(crate) struct Output(Vec<u8>);

impl Output {
    pub(crate) fn new() -> Self {
        Output(POOL.with_borrow_mut(Pool::lend_output))
    }

    /// Without memory, for who has nothing to say yet.
    pub(crate) fn none() -> Self {
        Output(Vec::new())
    }
}

impl Deref for Output {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Output {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0);
        if bytes.capacity() == 0 || bytes.capacity() > OUTPUT_KEPT_CAPACITY {
            return;
        }
        bytes.clear();
        let _ = POOL.try_with(|pool| {
            let outputs = &mut pool.borrow_mut().outputs;
            if outputs.len() < KEPT {
                outputs.push(bytes);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;
    use tokio::io::AsyncWrite;

    fn fill(buffer: &mut Buffer, mut bytes: &[u8]) -> usize {
        let mut context = Context::from_waker(Waker::noop());
        match buffer.poll_fill(&mut context, &mut bytes) {
            Poll::Ready(Ok(count)) => count,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn bytes_come_out_in_order_while_the_buffer_wraps() {
        let mut buffer = Buffer::default();
        fill(&mut buffer, &[1; SIZE]);
        assert!(buffer.is_full());
        buffer.consume(SIZE - 2);
        assert_eq!(fill(&mut buffer, &[2, 3]), 2);
        assert_eq!(buffer.filled(), [1, 1, 2, 3]);
    }

    #[test]
    fn released_memory_is_lent_again() {
        let mut buffer = Buffer::default();
        fill(&mut buffer, &[1]);
        buffer.consume(1);
        buffer.release();
        assert_eq!(buffer.bytes.len(), 0);
        let free = POOL.with_borrow(|pool| pool.buffers.len());
        fill(&mut buffer, &[1]);
        assert_eq!(POOL.with_borrow(|pool| pool.buffers.len()), free - 1);
    }

    #[test]
    fn memory_that_nobody_needs_is_given_back() {
        let mut buffers: Vec<Buffer> = (0..4).map(|_| Buffer::default()).collect();
        for buffer in &mut buffers {
            fill(buffer, &[1]);
        }
        drop(buffers);
        trim();
        // One is in use from time to time; the other three are not.
        fill(&mut Buffer::default(), &[1]);
        trim();
        assert_eq!(POOL.with_borrow(|pool| pool.buffers.len()), 1);
    }

    #[test]
    fn part_of_a_message_waits_in_little_memory_and_grows_again() {
        let mut buffer = Buffer::default();
        fill(&mut buffer, &[1; 700]);
        buffer.consume(100);
        buffer.shrink();
        assert_eq!(buffer.bytes.len(), 1024);
        assert!(!buffer.is_full());
        assert_eq!(fill(&mut buffer, &[2; 1000]), 424, "what room there is");
        assert_eq!(fill(&mut buffer, &[3; SIZE]), SIZE - 1024);
        assert!(buffer.is_full());
        let parts = [(1, 600), (2, 424), (3, SIZE - 1024)];
        let expected: Vec<u8> = parts
            .iter()
            .flat_map(|(byte, count)| vec![*byte; *count])
            .collect();
        assert_eq!(buffer.filled(), expected);
        buffer.shrink();
        assert_eq!(buffer.bytes.len(), SIZE, "nothing to save");
    }

    #[test]
    fn waiting_for_a_silent_peer_takes_no_memory() {
        let (mut silent, mut peer) = tokio::io::duplex(64);
        let mut context = Context::from_waker(Waker::noop());
        let mut buffer = Buffer::default();
        assert!(buffer.poll_fill(&mut context, &mut silent).is_pending());
        assert_eq!(buffer.bytes.len(), 0);
        assert!(
            Pin::new(&mut peer)
                .poll_write(&mut context, b"x")
                .is_ready()
        );
        assert!(buffer.poll_fill(&mut context, &mut silent).is_ready());
        assert!(buffer.poll_fill(&mut context, &mut silent).is_pending());
        assert_eq!(buffer.filled(), b"x", "what came is kept");
    }

    #[test]
    fn large_memory_is_lent_to_so_many_and_no_more() {
        let flood = vec![1; LARGE];
        let flowing = || {
            let mut buffer = Buffer::default();
            buffer.enlarge();
            fill(&mut buffer, &flood);
            buffer
        };
        let mut buffers: Vec<Buffer> = (0..MAX_LARGE + 5).map(|_| flowing()).collect();
        let large = |buffers: &[Buffer]| {
            let sizes = buffers.iter().map(|buffer| buffer.bytes.len());
            sizes.filter(|size| *size == LARGE).count()
        };
        assert_eq!(large(&buffers), MAX_LARGE);
        buffers.drain(..3);
        buffers.extend((0..3).map(|_| flowing()));
        assert_eq!(large(&buffers), MAX_LARGE);
        drop(buffers);
        assert_eq!(POOL.with_borrow(|pool| pool.large_lent), 0);
    }
}
