//! The terminal, taken and given back: whatever ends the program, it is left as it was found.

use crate::command::Failure;
use crossterm::event::{Event, KeyEvent, KeyEventKind, read};
use ratatui::DefaultTerminal;
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

#[cfg(test)]
mod tests {
    use super::*;
    use pty_process::blocking::{Command, open};
    use rustix::termios::tcgetattr;
    use std::io::Read;

    /// Says that this process is the one to panic.
    const PANIC: &str = "LEMONADE_TEST_PANIC";

    /// What the test below runs in a terminal; by itself, nothing.
    #[test]
    fn panics_in_a_terminal() {
        if std::env::var_os(PANIC).is_some() {
            let _taken = Taken::take().unwrap();
            panic!("amid the picture");
        }
    }

    #[test]
    fn terminal_is_given_back_before_a_panic_is_told() {
        let (mut pty, pts) = open().unwrap();
        pty.resize(pty_process::Size::new(24, 80)).unwrap();
        let before = tcgetattr(&pty).unwrap();
        let test = "command::top::terminal::tests::panics_in_a_terminal";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(PANIC, "1")
            .spawn(pts)
            .unwrap();
        let (mut told, mut piece) = (Vec::new(), [0; 4096]);
        // Reading fails once nobody has the terminal open any more.
        while let Ok(count @ 1..) = pty.read(&mut piece) {
            told.extend_from_slice(&piece[..count]);
        }
        assert!(!child.wait().unwrap().success());
        let told = String::from_utf8(told).unwrap();
        let (_, taken) = told.split_once("\u{1b}[?1049h").expect(&told);
        let (_, given_back) = taken.split_once("\u{1b}[?1049l").expect(&told);
        assert!(given_back.contains("amid the picture"), "{told}");
        let after = tcgetattr(&pty).unwrap();
        assert_eq!(format!("{after:?}"), format!("{before:?}"));
    }
}
