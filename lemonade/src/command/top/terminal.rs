//! The terminal, taken and given back: whatever ends the program, it is left as it was found.

use crate::command::Failure;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{Event, KeyEvent, KeyEventKind, read};
use std::io::IsTerminal;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const NO_TERMINAL: &str =
    "this is not a terminal: `--once` prints one picture, `--once --json` the same as JSON";

/// What comes from the keyboard and the window.
#[derive(Debug)]
pub(super) enum Input {
    Key(KeyEvent),
    /// The window has another size: the picture is drawn anew.
    Resized,
    /// The terminal is gone.
    Over,
}

/// A terminal in raw mode, on its other screen; given back when this is dropped. A panic gives it back before it is told
/// (`ratatui`'s hook does, in front of ours, which writes the log).
pub(super) struct Taken(pub(super) DefaultTerminal);

impl Taken {
    pub(super) fn take() -> Result<Self, Failure> {
        let taken = ratatui::try_init().map(Taken);
        taken.map_err(|_| Failure::Usage(NO_TERMINAL.to_owned()))
    }
}

/// Whether there is one to draw on.
pub(super) fn check() -> Result<(), Failure> {
    match std::io::stdout().is_terminal() {
        true => Ok(()),
        false => Err(Failure::Usage(NO_TERMINAL.to_owned())),
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // It fails where the terminal is gone, and then nobody sees it.
        let _ = self.0.show_cursor();
        let _ = ratatui::try_restore();
    }
}

/// Reads the keyboard on a thread of its own, which ends with the process: a read cannot be called off.
pub(super) fn inputs() -> UnboundedReceiver<Input> {
    let (tell, inputs) = unbounded_channel();
    std::thread::spawn(move || {
        loop {
            let input = match read() {
                Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => Input::Key(key),
                Ok(Event::Resize(..)) => Input::Resized,
                Ok(_) => continue,
                Err(_) => Input::Over,
            };
            let is_over = matches!(input, Input::Over);
            if tell.send(input).is_err() || is_over {
                return;
            }
        }
    });
    inputs
}
