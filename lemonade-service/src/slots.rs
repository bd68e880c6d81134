//! How many `/work` requests are worked on at once.
//!
//! The worker enters before it works; chaos changes the capacity while others wait. Promise: first come, first
//! served; a slot is free again when its guard drops; who stops waiting leaves the queue; one after the other takes as long as
//! all of it should, however coarse the timers.
//! Not tokio's semaphore: its permits cannot be taken back while they are out, which lowering the capacity needs.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

/// Timers end up to so much late, as tokio's do by a millisecond. What is more is a worker that stood still, whose lost time must not
/// be made up for.
const LATENESS: Duration = Duration::from_millis(3);

/// The slots of one worker; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Slots(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// None for any number.
    capacity: Option<NonZeroUsize>,
    taken: usize,
    /// Whoever is told here has been counted as taken.
    waiting: VecDeque<oneshot::Sender<Slot>>,
}

/// One request's place; gone when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Slots,
    /// When the place ought to have become free, if that was just now.
    free: Option<Instant>,
}

impl Slot {
    /// Takes so long, counted from when the place ought to have become free: else each timer's lateness would add to the wait of
    /// all that queue, and a worker be busier than its delays say. Then the place is given up.
    pub(crate) async fn work(mut self, delay: Duration) {
        if delay.is_zero() {
            return;
        }
        // Taken, so that work which is broken off leaves a place that is free then and not before.
        let end = self.free.take().unwrap_or_else(Instant::now) + delay;
        sleep_until(end).await;
        self.free = (end.elapsed() <= LATENESS).then_some(end);
    }
}

impl Slots {
    pub(crate) fn new(capacity: Option<NonZeroUsize>) -> Slots {
        let waiting = VecDeque::new();
        Slots(Arc::new(Mutex::new(State {
            capacity,
            taken: 0,
            waiting,
        })))
    }

    /// Waits for a free slot, behind everyone who came before. Dropping the future gives the place up.
    pub(crate) async fn enter(&self) -> Slot {
        let turn = {
            let mut state = self.lock();
            if state.waiting.is_empty() && state.has_room() {
                state.taken += 1;
                return self.slot(None);
            }
            state.forget_who_left();
            let (tell, turn) = oneshot::channel();
            state.waiting.push_back(tell);
            turn
        };
        // The sender is dropped only in `admit`, which sends; were it not so, one request too many is the lesser harm.
        turn.await.unwrap_or_else(|_| {
            self.lock().taken += 1;
            self.slot(None)
        })
    }

    /// With less than before, those inside stay; the next enters when enough have left.
    pub(crate) fn resize(&self, capacity: Option<NonZeroUsize>) {
        self.lock().capacity = capacity;
        self.admit(None);
    }

    /// Slots are made and sent outside of the lock: one that finds nobody there drops, and dropping locks.
    fn admit(&self, free: Option<Instant>) {
        loop {
            let next = self.lock().next();
            let Some(tell) = next else { return };
            let _ = tell.send(self.slot(free));
        }
    }

    fn slot(&self, free: Option<Instant>) -> Slot {
        let slots = self.clone();
        Slot { slots, free }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic can happen between two changes of the state, so a poisoned one is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_room(&self) -> bool {
        self.capacity
            .is_none_or(|capacity| self.taken < capacity.get())
    }

    /// Takes a slot for the first who still waits.
    fn next(&mut self) -> Option<oneshot::Sender<Slot>> {
        while self.has_room() {
            let tell = self.waiting.pop_front()?;
            if !tell.is_closed() {
                self.taken += 1;
                return Some(tell);
            }
        }
        None
    }

    /// Only when the queue would grow otherwise, so that a join costs no more than a few steps on average.
    fn forget_who_left(&mut self) {
        if self.waiting.len() == self.waiting.capacity() {
            self.waiting.retain(|tell| !tell.is_closed());
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.lock().taken -= 1;
        self.slots.admit(self.free);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;
    use proptest::prelude::*;

    use super::*;

    fn slots(capacity: usize) -> Slots {
        Slots::new(NonZeroUsize::new(capacity))
    }

    fn enter(slots: &Slots) -> BoxFuture<'static, Slot> {
        let slots = slots.clone();
        let mut future = async move { slots.enter().await }.boxed();
        // Joins the queue, unless it is let in at once; then it is not polled again.
        match future.as_mut().now_or_never() {
            Some(slot) => futures_util::future::ready(slot).boxed(),
            None => future,
        }
    }

    #[test]
    fn first_who_came_is_first_served() {
        let slots = slots(1);
        let inside = enter(&slots).now_or_never().unwrap();
        let (mut second, mut third) = (enter(&slots), enter(&slots));
        assert!(second.as_mut().now_or_never().is_none());
        drop(inside);
        assert!(third.as_mut().now_or_never().is_none());
        drop(second.now_or_never().unwrap());
        assert!(third.now_or_never().is_some());
    }

    #[test]
    fn who_left_the_queue_is_passed_over() {
        let slots = slots(1);
        let inside = enter(&slots).now_or_never().unwrap();
        let (second, third) = (enter(&slots), enter(&slots));
        drop(second);
        drop(inside);
        assert!(third.now_or_never().is_some());
    }

    #[test]
    fn who_leaves_when_already_admitted_frees_the_slot() {
        let slots = slots(1);
        let inside = enter(&slots).now_or_never().unwrap();
        let (second, third) = (enter(&slots), enter(&slots));
        drop(inside);
        drop(second);
        assert!(third.now_or_never().is_some());
    }

    #[test]
    fn queue_of_those_who_left_does_not_grow() {
        let slots = slots(1);
        let _inside = enter(&slots).now_or_never().unwrap();
        for _ in 0..10_000 {
            drop(enter(&slots));
        }
        assert!(slots.lock().waiting.len() <= 8);
    }

    #[test]
    fn larger_capacity_lets_the_queue_in() {
        let slots = slots(1);
        let _inside = enter(&slots).now_or_never().unwrap();
        let (second, third) = (enter(&slots), enter(&slots));
        slots.resize(NonZeroUsize::new(2));
        let _second = second.now_or_never().unwrap();
        slots.resize(None);
        assert!(third.now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn late_timers_do_not_add_up() {
        let slots = slots(1);
        let began = Instant::now();
        let delay = Duration::from_micros(1_300);
        for requests in (0..100).map(|_| enter(&slots)).collect::<Vec<_>>() {
            requests.await.work(delay).await;
        }
        // A timer of a millisecond's grain alone would make it 200 ms.
        assert!((100 * delay..100 * delay + LATENESS).contains(&began.elapsed()));
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_the_worker_stood_still_is_lost() {
        let slots = slots(1);
        let delay = Duration::from_millis(10);
        let (first, second) = (enter(&slots), enter(&slots));
        let mut working = Box::pin(first.await.work(delay));
        assert!(working.as_mut().now_or_never().is_none());
        // Stopped by a signal, say.
        tokio::time::advance(Duration::from_secs(1)).await;
        working.await;
        let began = Instant::now();
        second.await.work(delay).await;
        assert!(began.elapsed() >= delay);
    }

    proptest! {
        /// Each step lets one come, one in the queue or inside go, or changes the capacity.
        #[test]
        fn never_more_inside_than_the_capacity(steps in prop::collection::vec((0..4u8, 1..4usize), 1..60)) {
            let slots = slots(2);
            let mut capacity = 2;
            let mut inside: Vec<Slot> = Vec::new();
            let mut queue: Vec<BoxFuture<'static, Slot>> = Vec::new();
            for (step, number) in steps {
                let before = inside.len();
                match step {
                    0 | 1 => queue.push(enter(&slots)),
                    2 if !inside.is_empty() => drop(inside.remove(number % inside.len())),
                    2 => {}
                    _ => {
                        capacity = number;
                        slots.resize(NonZeroUsize::new(capacity));
                    }
                }
                let mut still = Vec::new();
                for mut waiting in queue.drain(..) {
                    match waiting.as_mut().now_or_never() {
                        Some(slot) => inside.push(slot),
                        None => still.push(waiting),
                    }
                }
                queue = still;
                prop_assert!(inside.len() <= capacity.max(before));
                prop_assert!(queue.is_empty() || inside.len() >= capacity);
            }
        }
    }
}
