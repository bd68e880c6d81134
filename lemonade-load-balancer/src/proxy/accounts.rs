//! Requests that have ended, until the log and the traces are told of them: several at once.
//!
//! Telling takes other code than serving does, and both together are more than the cache of a core that is nearest to it holds. A
//! request that is told of as soon as it has ended has the next ones fetch their own code anew; of [`TOGETHER`] only the first
//! pays for that.

use super::access_log::{Finish, Form};
use super::journal::Journal;
use super::shard::Shard;
use super::view::View;
use std::cell::RefCell;

/// So many are told of at once. Fewer wait for [`crate::log_file::PATIENCE`] at most.
const TOGETHER: usize = 32;

/// What there is to tell of one request.
#[derive(Debug)]
struct Account {
    journal: Box<Journal>,
    finish: Finish,
    /// The line that the log wanted when the request ended.
    line: Option<Form>,
    /// Who picked then.
    strategy: &'static str,
}

/// Those of one shard.
#[derive(Debug, Default)]
pub(super) struct Accounts(RefCell<Vec<Account>>);

impl Shard {
    /// Has the log and the traces told of a request, if they want to know of it.
    pub(super) fn tell_of(&self, journal: Box<Journal>, finish: Finish, view: &View) {
        let config = &view.snapshot.config.access_log;
        let line = Form::wanted(config, &journal, &finish);
        if line.is_none() && journal.traced.is_none() {
            return self.journals.give_back(journal);
        }
        let mut waiting = self.accounts.0.borrow_mut();
        waiting.push(Account {
            journal,
            finish,
            line,
            strategy: view.snapshot.picks_by.as_str(),
        });
        match waiting.len() {
            1 => self.log_begun.notify_one(),
            TOGETHER => {
                drop(waiting);
                self.tell();
            }
            _ => {}
        }
    }

    /// Tells of those that wait.
    #[inline(never)]
    pub(super) fn tell(&self) {
        let mut waiting = self.accounts.0.take();
        for account in waiting.drain(..) {
            let Account {
                mut journal,
                finish,
                line,
                strategy,
            } = account;
            if let Some(form) = line {
                self.log(form, &mut journal, &finish, strategy);
            }
            self.trace(&mut journal, &finish, strategy);
            self.journals.give_back(journal);
        }
        // Only storage: telling of requests ends none.
        self.accounts.0.replace(waiting);
    }
}
