//! Requests on their way: known by a ticket, which is void once neither a client nor a backend has anything to do with them.

use std::ops::{Index, IndexMut};
use std::time::Duration;

/// One request on its way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) came: Duration,
    pub(super) replica: usize,
    pub(super) backend: usize,
    /// Seconds that the backend takes for it when it is well.
    pub(super) work: f64,
    /// How long the backend had been paused in all when the end of the work was foreseen.
    pub(super) pauses_seen: Duration,
    pub(super) doomed: bool,
    /// Its client waits for the answer.
    pub(super) waiting: bool,
    pub(super) place: Place,
}

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a backend's queue.
    Queued,
    /// At a worker.
    Working,
    /// At a backend that will never answer it.
    Swallowed,
    /// At no backend.
    Nowhere,
}

/// Which request: a void ticket finds none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    slot: u32,
    generation: u32,
}

#[derive(Debug, Default)]
pub(super) struct Jobs {
    slots: Vec<(u32, Option<Job>)>,
    free: Vec<u32>,
    begun: u64,
    waiting: usize,
}

impl Jobs {
    pub(super) fn begin(&mut self, job: Job) -> Ticket {
        self.begun += 1;
        self.waiting += usize::from(job.waiting);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            u32::try_from(self.slots.len() - 1).expect("fewer requests than 2^32 at a time")
        });
        let (generation, place) = &mut self.slots[slot as usize];
        *place = Some(job);
        let generation = *generation;
        Ticket { slot, generation }
    }

    /// How many there have been.
    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    pub(super) fn any_waiting(&self) -> bool {
        self.waiting > 0
    }

    pub(super) fn find(&mut self, ticket: Ticket) -> Option<&mut Job> {
        let (generation, job) = &mut self.slots[ticket.slot as usize];
        job.as_mut().filter(|_| *generation == ticket.generation)
    }

    pub(super) fn waits(&self, ticket: Ticket) -> bool {
        let (generation, job) = &self.slots[ticket.slot as usize];
        *generation == ticket.generation && job.as_ref().is_some_and(|job| job.waiting)
    }

    /// The request, if its client was waiting until now.
    pub(super) fn stop_waiting(&mut self, ticket: Ticket) -> Option<Answered> {
        let job = self.find(ticket).filter(|job| job.waiting)?;
        job.waiting = false;
        let answered = Answered {
            came: job.came,
            replica: job.replica,
            backend: job.backend,
        };
        self.waiting -= 1;
        self.sweep(ticket);
        Some(answered)
    }

    pub(super) fn move_to(&mut self, ticket: Ticket, place: Place) {
        if let Some(job) = self.find(ticket) {
            job.place = place;
            self.sweep(ticket);
        }
    }

    /// All that are at a backend, in the order of arrival.
    pub(super) fn at(&self, backend: usize) -> Vec<Ticket> {
        let slots = self.slots.iter().enumerate();
        let mut found: Vec<(Duration, Ticket)> = slots
            .filter_map(|(slot, (generation, job))| {
                let job = job.as_ref()?;
                let slot = u32::try_from(slot).ok()?;
                let generation = *generation;
                let here = job.backend == backend && job.place != Place::Nowhere;
                here.then_some((job.came, Ticket { slot, generation }))
            })
            .collect();
        found.sort_by_key(|(came, _)| *came);
        found.into_iter().map(|(_, ticket)| ticket).collect()
    }

    /// Frees the slot of a request that nobody has anything to do with.
    fn sweep(&mut self, ticket: Ticket) {
        let (generation, job) = &mut self.slots[ticket.slot as usize];
        // Who was swallowed is remembered for a crash, which tells its client.
        let over = job.as_ref().is_some_and(|job| {
            !job.waiting && matches!(job.place, Place::Nowhere | Place::Swallowed)
        });
        if over {
            *job = None;
            *generation = generation.wrapping_add(1);
            self.free.push(ticket.slot);
        }
    }
}

/// A request whose client has stopped waiting.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) came: Duration,
    pub(super) replica: usize,
    pub(super) backend: usize,
}

impl Index<Ticket> for Jobs {
    type Output = Job;

    /// Of a ticket that is not void.
    fn index(&self, ticket: Ticket) -> &Job {
        let job = self.slots[ticket.slot as usize].1.as_ref();
        job.expect("a request that is queued or has just come")
    }
}

impl IndexMut<Ticket> for Jobs {
    fn index_mut(&mut self, ticket: Ticket) -> &mut Job {
        let job = self.slots[ticket.slot as usize].1.as_mut();
        job.expect("a request that is queued or has just come")
    }
}
