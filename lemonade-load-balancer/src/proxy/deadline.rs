//! Deadlines without a timer a request: setting one is two stores into memory that the connection owns.
//!
//! A tokio timer costs a lock, a clock read and a wheel insertion each time it is set, and nearly all are moved before they
//! fire. Here every connection has one [`Deadline`], a slot that sits in a coarse timing wheel (Varghese & Lauck 1987,
//! scheme 6) at the *earliest* time at which it may have to fire. When that bucket comes up the slot is looked at: past its
//! deadline its task is woken, else it moves to the bucket of its present deadline. So a slot moves about once per wheel
//! turn, however often its deadline is set. Cost: a deadline fires up to three ticks late, never early. Time in which the whole
//! thread stood still (a stopped process, a machine without a core to spare) does not count: whoever answered meanwhile is heard.

use slab::Slab;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How often the wheel turns by one bucket.
const TICK: Duration = Duration::from_millis(20);
/// The most that one turn counts, however long ago the last was: the rest is time in which this thread did not run, which is
/// nobody's fault on the other end of a connection.
const LONGEST_TURN: Tick = 2;
/// Buckets; a deadline further away than all of them waits in the last and moves on from there.
const BUCKETS: u64 = 256;
/// A bucket that grew past this is not kept.
const BUCKET_KEPT_CAPACITY: usize = 4096;
/// A slot in no bucket.
const NOWHERE: u64 = u64::MAX;

/// Ticks since the shard began.
type Tick = u64;

/// The wheel of one shard. [`Timers::run`] must be polled for deadlines to fire.
#[derive(Debug)]
pub(crate) struct Timers {
    began: Instant,
    now: Cell<Tick>,
    /// Time that is not counted.
    halted: Cell<Tick>,
    wheel: RefCell<Wheel>,
    first_slot: Notify,
}

#[derive(Debug)]
struct Wheel {
    slots: Slab<Slot>,
    /// Keys of slots. One may be out of date, because its slot was placed nearer or given to another connection; what is
    /// looked at too often costs a look. So dropping a deadline need not search for it.
    buckets: Vec<Vec<usize>>,
}

#[derive(Debug)]
struct Slot {
    /// When to fire; `NOWHERE` while unset.
    due: Tick,
    /// No later than this, whatever the phase: the request's total.
    cap: Tick,
    /// Whom the connection waits for, in its owner's terms; 0 is nobody.
    tag: usize,
    /// The bucket that will look at this slot next.
    placed: Tick,
    waker: Option<Waker>,
}

impl Timers {
    pub(crate) fn new() -> Rc<Self> {
        let buckets = (0..BUCKETS).map(|_| Vec::new()).collect();
        Rc::new(Self {
            began: Instant::now(),
            now: Cell::new(0),
            halted: Cell::new(0),
            wheel: RefCell::new(Wheel {
                slots: Slab::new(),
                buckets,
            }),
            first_slot: Notify::new(),
        })
    }

    /// A new, unset deadline.
    pub(crate) fn deadline(self: &Rc<Self>) -> Deadline {
        let slots = &mut self.wheel.borrow_mut().slots;
        if slots.is_empty() {
            self.first_slot.notify_one();
            self.now.set(self.read_clock());
        }
        let key = slots.insert(Slot {
            due: NOWHERE,
            cap: NOWHERE,
            tag: 0,
            placed: NOWHERE,
            waker: None,
        });
        Deadline {
            timers: self.clone(),
            key,
        }
    }

    fn read_clock(&self) -> Tick {
        (self.began.elapsed().as_nanos() / TICK.as_nanos()) as Tick - self.halted.get()
    }

    /// While there are no deadlines the wheel stands still, and nothing wakes the thread.
    fn is_idle(&self) -> bool {
        self.wheel.borrow().slots.is_empty()
    }

    /// Turns the wheel for as long as it is polled.
    pub(crate) async fn run(&self) {
        loop {
            while self.is_idle() {
                self.first_slot.notified().await;
            }
            let mut ticker = tokio::time::interval(TICK);
            ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            while !self.is_idle() {
                ticker.tick().await;
                self.turn(self.read_clock());
            }
        }
    }

    /// Looks at every bucket up to `clock`, or as far as one turn goes.
    fn turn(&self, clock: Tick) {
        let from = self.now.get();
        let now = clock.min(from + LONGEST_TURN);
        self.halted.update(|halted| halted + (clock - now));
        self.now.set(now);
        for tick in from + 1..=now {
            self.wheel.borrow_mut().look_at(tick, now);
        }
    }

    /// Has every deadline with this tag fire now, and until its cap is lifted whenever it is set again.
    pub(crate) fn expire(&self, tag: usize) {
        let mut wheel = self.wheel.borrow_mut();
        for (_, slot) in &mut wheel.slots {
            if slot.tag == tag {
                slot.cap = 0;
                slot.due = 0;
                slot.wake();
            }
        }
    }

    /// The same as [`Self::wake_all`], in the order of the deadlines: of those who wait for the same thing, whoever has waited
    /// longest first. Sorts them all, so not for every day.
    pub(crate) fn wake_soonest_first(&self) {
        let wheel = self.wheel.borrow();
        let mut slots: Vec<&Slot> = wheel.slots.iter().map(|(_, slot)| slot).collect();
        slots.sort_by_key(|slot| slot.due);
        slots.into_iter().for_each(Slot::wake);
    }

    /// Wakes every task that waits on a deadline of this shard, for it to look at what changed (a drain).
    pub(crate) fn wake_all(&self) {
        for (_, slot) in &self.wheel.borrow().slots {
            slot.wake();
        }
    }
}

impl Wheel {
    fn look_at(&mut self, tick: Tick, now: Tick) {
        let mut bucket = std::mem::take(&mut self.buckets[(tick % BUCKETS) as usize]);
        for key in bucket.drain(..) {
            match self.slots.get_mut(key) {
                Some(slot) if slot.placed <= tick => {
                    slot.placed = NOWHERE;
                    if slot.due <= now {
                        slot.wake();
                    } else if slot.due != NOWHERE {
                        self.place(key, now);
                    }
                }
                _ => {}
            }
        }
        // Its memory serves the next turn, unless a burst made it large.
        let place = &mut self.buckets[(tick % BUCKETS) as usize];
        if place.is_empty() && bucket.capacity() <= BUCKET_KEPT_CAPACITY {
            *place = bucket;
        }
    }

    fn place(&mut self, key: usize, now: Tick) {
        let slot = &mut self.slots[key];
        slot.placed = slot.due.clamp(now + 1, now + BUCKETS - 1);
        self.buckets[(slot.placed % BUCKETS) as usize].push(key);
    }
}

impl Slot {
    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

/// The one deadline of a connection, moved from phase to phase.
#[derive(Debug)]
pub(crate) struct Deadline {
    timers: Rc<Timers>,
    key: usize,
}

impl Deadline {
    /// `after` from now, or at the cap if that is sooner.
    pub(crate) fn set(&self, after: Duration) {
        let due = self.tick_after(after);
        let mut wheel = self.timers.wheel.borrow_mut();
        let slot = &mut wheel.slots[self.key];
        slot.due = due.min(slot.cap);
        if slot.due < slot.placed {
            wheel.place(self.key, self.timers.now.get());
        }
    }

    /// Bounds all later [`Self::set`] until the cap is lifted.
    pub(crate) fn cap(&self, after: Option<Duration>) {
        let cap = after.map_or(NOWHERE, |after| self.tick_after(after));
        self.timers.wheel.borrow_mut().slots[self.key].cap = cap;
    }

    /// Whom the connection waits for from now on, for [`Timers::expire`]; 0 is nobody.
    pub(crate) fn tag(&self, tag: usize) {
        self.timers.wheel.borrow_mut().slots[self.key].tag = tag;
    }

    /// Rounded up, and more because the wheel's present may lag the clock by as much as its next turn counts.
    fn tick_after(&self, after: Duration) -> Tick {
        // In milliseconds: a division of 128 bits is a call.
        let ticks = (after.as_millis() as u64).div_ceil(TICK.as_millis() as u64);
        self.timers
            .now
            .get()
            .saturating_add(ticks)
            .saturating_add(LONGEST_TURN)
            .min(NOWHERE - 1)
    }

    /// Ready once the deadline has passed; else the task is woken when it does.
    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<()> {
        let mut wheel = self.timers.wheel.borrow_mut();
        let slot = &mut wheel.slots[self.key];
        if slot.due <= self.timers.now.get() {
            return Poll::Ready(());
        }
        match &slot.waker {
            Some(present) if present.will_wake(context.waker()) => {}
            _ => slot.waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.timers.wheel.borrow_mut().slots.remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    async fn fires_after(deadline: &Deadline) -> Duration {
        let began = Instant::now();
        poll_fn(|context| deadline.poll(context)).await;
        began.elapsed()
    }

    fn paused(test: impl AsyncFnOnce(Rc<Timers>)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let timers = Timers::new();
            let run = timers.clone();
            tokio::select! {
                () = run.run() => unreachable!("the wheel turns for ever"),
                () = test(timers) => {}
            }
        });
    }

    #[test]
    fn deadline_fires_in_time_and_never_early() {
        paused(async |timers| {
            for millis in [0, 1, 19, 20, 250, 4_000, 6_000, 61_000] {
                let deadline = timers.deadline();
                let after = Duration::from_millis(millis);
                deadline.set(after);
                let took = fires_after(&deadline).await;
                assert!(
                    took >= after && took <= after + 4 * TICK,
                    "{after:?} fired after {took:?}"
                );
            }
        });
    }

    #[test]
    fn deadline_can_come_nearer_and_go_further() {
        paused(async |timers| {
            let deadline = timers.deadline();
            deadline.set(Duration::from_secs(60));
            deadline.set(Duration::from_millis(100));
            assert!(fires_after(&deadline).await < Duration::from_millis(200));
            deadline.set(Duration::from_millis(100));
            deadline.set(Duration::from_secs(30));
            assert!(fires_after(&deadline).await >= Duration::from_secs(30));
        });
    }

    #[test]
    fn time_in_which_the_thread_stood_still_does_not_count() {
        let timers = Timers::new();
        let deadline = timers.deadline();
        let context = Context::from_waker(Waker::noop());
        deadline.set(Duration::from_secs(1));
        timers.turn(1);
        // Stopped for ten seconds.
        timers.turn(500);
        assert!(deadline.poll(&context).is_pending());
        for clock in 4..=50 {
            timers.turn(clock);
        }
        assert!(deadline.poll(&context).is_pending(), "not all of it yet");
        for clock in 51..=52 {
            timers.turn(clock);
        }
        assert!(deadline.poll(&context).is_ready());
    }

    #[test]
    fn cap_bounds_every_phase() {
        paused(async |timers| {
            let deadline = timers.deadline();
            deadline.cap(Some(Duration::from_secs(1)));
            deadline.set(Duration::from_secs(60));
            assert!(fires_after(&deadline).await < Duration::from_millis(1100));
            deadline.cap(None);
            deadline.set(Duration::from_secs(2));
            assert!(fires_after(&deadline).await >= Duration::from_secs(2));
        });
    }
}
