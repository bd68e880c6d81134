//! `lemonade top`: the balancer in a terminal, for who has to know within five seconds what is wrong.
//!
//! `feed` brings news, `watched` holds what was seen, `verdict` says what is wrong, `screen` what is to be shown and what a key
//! does, `draw` draws it; all but the first and the terminal itself are pure. The loop below joins them, in one thread: nothing
//! is read while a slow terminal is written to, so nothing piles up.

mod change;
mod draw;
mod feed;
mod figures;
mod happened;
mod once;
mod rows;
mod sample;
mod screen;
mod terminal;
mod verdict;
mod watched;

use super::{Failure, runtime};
use crate::cli;
use crate::client::{Body, Client};
use change::Change;
use draw::{Picture, Theme};
use screen::{Screen, Wish};
use std::sync::Arc;
use std::time::{Duration, Instant};
use terminal::{Input, Taken};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use watched::{Update, Watched};

/// How often what is shown grows older on the screen when nothing else happens.
const TICK: Duration = Duration::from_secs(1);

pub(crate) fn run(options: &cli::Top) -> Result<(), Failure> {
    let client = Client::reach(&options.reach)?;
    match (options.once, options.reach.json) {
        (true, as_json) => runtime()?.block_on(once::print(&client, as_json)),
        (false, true) => Err(Failure::Usage(
            "`--json` is of `--once`: `lemonade top --once --json`".to_owned(),
        )),
        (false, false) => runtime()?.block_on(watch(Arc::new(client))),
    }
}

/// Shows it until the person or a signal ends it.
async fn watch(client: Arc<Client>) -> Result<(), Failure> {
    terminal::check()?;
    // A wrong address is told as every command tells it; who goes away later comes back.
    feed::get(&client, "/status").await?;
    let mut top = Top::new(client)?;
    let mut taken = Taken::take()?;
    top.run(&mut taken).await
}

/// What came of a change.
type Answered = (Change, Result<Vec<String>, String>);

struct Top {
    client: Arc<Client>,
    theme: Theme,
    watched: Watched,
    screen: Screen,
    updates: UnboundedReceiver<Update>,
    answers: (UnboundedSender<Answered>, UnboundedReceiver<Answered>),
    ends: [Signal; 3],
}

impl Top {
    fn new(client: Arc<Client>) -> Result<Self, Failure> {
        let (tell, updates) = unbounded_channel();
        feed::start(&client, &tell);
        Ok(Top {
            client,
            theme: Theme::from_process(),
            watched: Watched::default(),
            screen: Screen::default(),
            updates,
            answers: unbounded_channel(),
            ends: [
                end(SignalKind::terminate())?,
                end(SignalKind::hangup())?,
                end(SignalKind::interrupt())?,
            ],
        })
    }

    async fn run(&mut self, taken: &mut Taken) -> Result<(), Failure> {
        let mut inputs = terminal::inputs();
        let mut ticks = tokio::time::interval(TICK);
        loop {
            self.draw(taken)?;
            let [terminate, hang_up, interrupt] = &mut self.ends;
            tokio::select! {
                input = inputs.recv() => match input {
                    Some(Input::Key(key)) => match self.screen.press(key, &self.watched) {
                        Some(Wish::Quit) => return Ok(()),
                        Some(Wish::Make(change)) => self.make(change),
                        None => {}
                    },
                    Some(Input::Resized) => {}
                    Some(Input::Over) | None => return Ok(()),
                },
                Some(update) = self.updates.recv() => self.watched.apply(update, Instant::now()),
                Some((change, answer)) = self.answers.1.recv() => self.screen.answer(&change, answer),
                _ = ticks.tick() => {}
                _ = terminate.recv() => return Ok(()),
                _ = hang_up.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
            }
            // What came together is drawn together.
            while let Ok(update) = self.updates.try_recv() {
                self.watched.apply(update, Instant::now());
            }
        }
    }

    fn draw(&self, taken: &mut Taken) -> Result<(), Failure> {
        let picture = Picture {
            address: self.client.address(),
            watched: &self.watched,
            screen: &self.screen,
            theme: self.theme,
            now: Instant::now(),
        };
        let drawn = taken.0.draw(|frame| picture.draw(frame));
        drawn.map_err(|error| Failure::Failed(format!("cannot draw: {error}")))?;
        Ok(())
    }

    /// Asks the API; the answer comes later, and the picture goes on meanwhile.
    fn make(&self, change: Change) {
        let (client, tell) = (self.client.clone(), self.answers.0.clone());
        tokio::spawn(async move {
            let (method, path, body) = change.call();
            let body = body.as_ref().map_or_else(Body::none, Body::json);
            let answer = match client.call(method, &path, body).await {
                Ok(answer) => Ok(change.answered(&answer)),
                Err(failure) => Err(failure.to_string()),
            };
            let _ = tell.send((change, answer));
        });
    }
}

fn end(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::Failed(format!("cannot wait for signals: {error}")))
}
