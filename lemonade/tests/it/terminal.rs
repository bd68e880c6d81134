//! A terminal to run a program in, with eyes to read its screen.

use crate::process::root;
use pty_process::Size;
use pty_process::blocking::{Command, Pts, Pty, open};
use rustix::termios::{Termios, tcgetattr};
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How long anything may take here; reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is on the screen, and a bell for whoever waits for it to change.
type Eyes = Arc<(Mutex<vt100::Parser>, Condvar)>;

/// A program in a pseudo-terminal of its own; killed when this is dropped.
pub(crate) struct Terminal {
    pty: Arc<Pty>,
    /// Kept open, as a shell does: the terminal outlives the program.
    _pts: Pts,
    eyes: Eyes,
    child: Child,
    before: Termios,
}

impl Terminal {
    /// Runs the binary with nothing of the tester's environment.
    pub(crate) fn start(arguments: &[&str], columns: u16, rows: u16) -> Terminal {
        Terminal::start_with(arguments, &[], columns, rows)
    }

    /// The same with variables.
    pub(crate) fn start_with(
        arguments: &[&str],
        variables: &[(&str, &str)],
        columns: u16,
        rows: u16,
    ) -> Terminal {
        let (pty, pts) = open().unwrap();
        pty.resize(Size::new(rows, columns)).unwrap();
        let before = tcgetattr(&pty).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_lemonade"))
            .args(arguments)
            .current_dir(root())
            .env_clear()
            .env("TERM", "xterm-256color")
            .envs(variables.iter().copied())
            .spawn_borrowed(&pts)
            .unwrap();
        let eyes: Eyes = Arc::new((
            Mutex::new(vt100::Parser::new(size(rows), size(columns), 0)),
            Condvar::new(),
        ));
        let pty = Arc::new(pty);
        let (seen, source) = (eyes.clone(), pty.clone());
        std::thread::spawn(move || look(&source, &seen));
        Terminal {
            pty,
            _pts: pts,
            eyes,
            child,
            before,
        }
    }

    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        let mut parser = self.eyes.0.lock().unwrap();
        parser.screen_mut().set_size(size(rows), size(columns));
        self.pty.resize(Size::new(rows, columns)).unwrap();
    }

    /// Presses keys: characters as they are, `\r` for enter, `\u{1b}` for escape.
    pub(crate) fn press(&self, keys: &str) {
        (&*self.pty).write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until all of `parts` are on the screen; the screen.
    #[track_caller]
    pub(crate) fn shows(&self, parts: &[&str]) -> String {
        self.until(&format!("{parts:?}"), |screen| {
            parts.iter().all(|part| screen.contains(part))
        })
    }

    /// Waits until the screen is as `wanted`; the screen.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        let mut parser = self.eyes.0.lock().unwrap();
        loop {
            let screen = parser.screen().contents();
            if wanted(&screen) {
                return screen;
            }
            let left = PATIENCE.saturating_sub(begun.elapsed());
            assert!(!left.is_zero(), "never {what} on:\n{screen}");
            parser = self.wait(parser, left);
        }
    }

    fn wait<'e>(
        &self,
        parser: MutexGuard<'e, vt100::Parser>,
        longest: Duration,
    ) -> MutexGuard<'e, vt100::Parser> {
        self.eyes.1.wait_timeout(parser, longest).unwrap().0
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-s", name, &id])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Waits for the program's end, and until the terminal is as it was before it.
    #[track_caller]
    pub(crate) fn given_back(mut self) -> ExitStatus {
        let begun = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(begun.elapsed() < PATIENCE, "it does not end"),
            }
            std::thread::yield_now();
        };
        // What it wrote last may still be on its way to the eyes.
        let mut parser = self.eyes.0.lock().unwrap();
        while parser.screen().alternate_screen() || parser.screen().hide_cursor() {
            let left = PATIENCE.saturating_sub(begun.elapsed());
            assert!(
                !left.is_zero(),
                "it keeps the other screen, or hides the cursor"
            );
            parser = self.wait(parser, left);
        }
        drop(parser);
        let after = tcgetattr(&*self.pty).unwrap();
        assert_eq!(modes(&after), modes(&self.before));
        status
    }

    pub(crate) fn is_on_the_other_screen(&self) -> bool {
        let parser = self.eyes.0.lock().unwrap();
        parser.screen().alternate_screen() && parser.screen().hide_cursor()
    }

    /// Something on the screen has a colour of its own.
    pub(crate) fn has_colour(&self) -> bool {
        self.any(|cell| cell.fgcolor() != vt100::Color::Default)
    }

    /// A symbol is on the screen in bold.
    pub(crate) fn has_bold(&self, symbol: &str) -> bool {
        self.any(|cell| cell.contents() == symbol && cell.bold())
    }

    fn any(&self, wanted: impl Fn(&vt100::Cell) -> bool) -> bool {
        let parser = self.eyes.0.lock().unwrap();
        let (rows, columns) = parser.screen().size();
        let mut places =
            (0..rows.get()).flat_map(|row| (0..columns.get()).map(move |column| (row, column)));
        places.any(|(row, column)| parser.screen().cell(row, column).is_some_and(&wanted))
    }
}

fn size(cells: u16) -> NonZeroU16 {
    NonZeroU16::new(cells).unwrap()
}

/// What `stty` could tell apart.
fn modes(termios: &Termios) -> String {
    format!("{termios:?}")
}

fn look(mut source: &Pty, eyes: &Eyes) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = source.read(&mut buffer) {
        eyes.0.lock().unwrap().process(&buffer[..count]);
        eyes.1.notify_all();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
