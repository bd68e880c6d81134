//! Requests that have ended, until the log and the traces are told of them: several at once.
//!
//! Telling takes other code than serving does, and both together are more than the cache of a core that is nearest to it holds. A
//! request that is told of as soon as it has ended has the next ones fetch their own code anew; of [`TOGETHER`] only the first
//! pays for that.

use super::access_log::{Finish, Form};
use super::retry::Noted;
use super::shard::Shard;
use super::view::View;
use std::cell::RefCell;

/// So many are told of at once. Fewer wait for [`crate::log_file::PATIENCE`] at most.
const TOGETHER: usize = 32;

/// What there is to tell of one request.
#[derive(Debug)]
struct Account {
    noted: Noted,
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
    pub(super) fn tell_of(&self, noted: Noted, finish: Finish, view: &View) {
        let config = &view.snapshot.config.access_log;
        let line = Form::wanted(config, noted.sampled, &noted.journal, &finish);
        if line.is_none() && noted.journal.traced.is_none() {
            return self.journals.give_back(noted.journal);
        }
        let mut waiting = self.accounts.0.borrow_mut();
        waiting.push(Account {
            noted,
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
        // They are far away by now. Fetched one behind the other, each would be waited for; so the waits are one.
        for account in &waiting {
            account.noted.journal.fetch();
        }
        for account in &mut waiting {
            let Account {
                noted: Noted {
                    journal, answer, ..
                },
                finish,
                line,
                strategy,
            } = account;
            if let (Some(status), Some(by)) = (*answer, &finish.backend) {
                journal.answered(by, status, finish.first_byte);
            }
            if let Some(form) = line {
                self.log(*form, journal, finish, strategy);
            }
            if journal.traced.is_some() {
                self.trace(journal, finish, strategy);
            }
        }
        for account in waiting.drain(..) {
            self.journals.give_back(account.noted.journal);
        }
        // Only storage: telling of requests ends none.
        self.accounts.0.replace(waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AccessLog;
    use crate::proxy::asked::Asker;
    use crate::proxy::shard::tests::idle;
    use lemonade_test::Origin;
    use std::net::Ipv4Addr;
    use std::time::Instant;

    /// A request that has just ended.
    fn ended(shard: &Shard, sampled: bool) -> (Noted, Finish) {
        let now = Instant::now();
        let asker = Asker {
            address: (Ipv4Addr::LOCALHOST, 1).into(),
            truncated: false,
            name: &mut None,
        };
        let noted = Noted {
            journal: shard
                .journals
                .begin_unread(b"GET / HTTP/1.1\r\n", asker, now),
            sampled,
            answer: None,
        };
        (noted, Finish::at_once(now, 200, None))
    }

    #[tokio::test]
    async fn requests_are_told_of_together() {
        let origin = Origin::named("a").await;
        let (shard, _around) = idle(&origin, |config| {
            config.access_log = AccessLog {
                sample: 0.5,
                ..AccessLog::default()
            };
        });
        let view = shard.view();
        let waiting = || shard.accounts.0.borrow().len();
        for expected in (1..TOGETHER).chain([0, 1]) {
            // Nobody wants to know of every other one.
            let (noted, finish) = ended(&shard, false);
            shard.tell_of(noted, finish, &view);
            let (noted, finish) = ended(&shard, true);
            shard.tell_of(noted, finish, &view);
            assert_eq!(waiting(), expected);
        }
        shard.tell();
        assert_eq!(waiting(), 0);
        assert!(shard.journals.left_behind().is_empty(), "all were read");
    }
}
