//! What the person at the keyboard has chosen to see, and what each key does to it. Pure: a key goes in, a wish may come out.

use super::change::{AUTO, Change};
use super::rows::{Sort, rows};
use super::watched::Watched;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::collections::VecDeque;

/// Rows that a page is.
const PAGE: isize = 10;
/// Digits of the greatest weight, 65535.
const DIGITS: usize = 5;
/// Characters of a filter; names are no longer than 100.
const FILTER: usize = 100;

/// What the keyboard is for at the moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Mode {
    #[default]
    Table,
    /// The filter is typed.
    Filter,
    Help,
    /// A strategy is chosen from the list.
    Strategies(usize),
    /// A weight is typed.
    Weight {
        backend: String,
        typed: String,
    },
    /// A change waits for a yes.
    Confirm(Change),
    /// A change is on its way.
    Sent(Change),
    /// What came of it.
    Answer {
        title: String,
        lines: Vec<String>,
        good: bool,
    },
}

/// What a key asks of the world.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wish {
    Quit,
    Make(Change),
}

/// What is shown of what was seen.
#[derive(Default)]
pub(super) struct Screen {
    pub(super) mode: Mode,
    pub(super) sort: Sort,
    pub(super) reversed: bool,
    pub(super) filter: String,
    /// Until one was chosen, it is whoever is on top.
    selected: Option<String>,
    /// What was seen when the picture was stopped.
    stopped: Option<Box<Watched>>,
    /// Answers that came while the keyboard was for something else.
    unread: VecDeque<Mode>,
}

impl Screen {
    /// What is to be drawn: the present, or what was when the picture was stopped.
    pub(super) fn shown<'s>(&'s self, watched: &'s Watched) -> &'s Watched {
        self.stopped.as_deref().unwrap_or(watched)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    /// The place of the selected backend among those shown.
    pub(super) fn place(&self, names: &[&str]) -> usize {
        let selected = self.selected.as_deref();
        selected
            .and_then(|selected| names.iter().position(|name| *name == selected))
            .unwrap_or(0)
    }

    /// A change was answered, or could not be made. Who is typing by then is told afterwards: what he types next is no key to close
    /// an answer with.
    pub(super) fn answer(&mut self, change: &Change, answer: Result<Vec<String>, String>) {
        // Who closed the question meanwhile still wants to know.
        let title = change.title().replace('?', "");
        self.unread.push_back(match answer {
            Ok(lines) => Mode::Answer {
                title,
                lines,
                good: true,
            },
            Err(why) => Mode::Answer {
                title: format!("not done: {title}"),
                lines: why.lines().map(str::to_owned).collect(),
                good: false,
            },
        });
        self.tell();
    }

    /// Shows the oldest answer that is unread, if nobody is at something else.
    fn tell(&mut self) {
        if let Mode::Table | Mode::Sent(_) = self.mode
            && let Some(answer) = self.unread.pop_front()
        {
            self.mode = answer;
        }
    }

    pub(super) fn press(&mut self, key: KeyEvent, watched: &Watched) -> Option<Wish> {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return (key.code == KeyCode::Char('c')).then_some(Wish::Quit);
        }
        // With `alt` a letter is another key: a terminal writes it as escape and the letter.
        if key.modifiers.contains(KeyModifiers::ALT) {
            return None;
        }
        let wish = match std::mem::take(&mut self.mode) {
            Mode::Table => self.at_table(key.code, watched),
            Mode::Filter => self.at_filter(key.code),
            Mode::Strategies(place) => self.at_strategies(key.code, place, watched),
            Mode::Weight { backend, typed } => self.at_weight(key.code, backend, typed),
            Mode::Confirm(change) => self.at_question(key.code, change),
            Mode::Help | Mode::Answer { .. } | Mode::Sent(_) => None,
        };
        self.tell();
        wish
    }

    fn at_table(&mut self, key: KeyCode, watched: &Watched) -> Option<Wish> {
        match key {
            KeyCode::Char('q') => return Some(Wish::Quit),
            KeyCode::Down | KeyCode::Char('j') => self.walk(1, watched),
            KeyCode::Up | KeyCode::Char('k') => self.walk(-1, watched),
            KeyCode::PageDown | KeyCode::Char(' ') => self.walk(PAGE, watched),
            KeyCode::PageUp => self.walk(-PAGE, watched),
            KeyCode::Home | KeyCode::Char('g') => self.walk(isize::MIN, watched),
            KeyCode::End | KeyCode::Char('G') => self.walk(isize::MAX, watched),
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Char('p') => self.stop_or_go(watched),
            KeyCode::Char('?' | 'h') => self.mode = Mode::Help,
            KeyCode::Char('t') => self.choose_strategy(watched),
            KeyCode::Char('d') => self.ask(watched, Change::Drain),
            KeyCode::Char('e') => self.ask(watched, Change::Enable),
            KeyCode::Char('w') => {
                if let Some(backend) = self.chosen(watched) {
                    let typed = String::new();
                    self.mode = Mode::Weight { backend, typed };
                }
            }
            KeyCode::Esc => {
                self.filter.clear();
                self.selected = None;
            }
            _ => {}
        }
        None
    }

    fn at_filter(&mut self, key: KeyCode) -> Option<Wish> {
        match key {
            KeyCode::Enter => return None,
            KeyCode::Esc => {
                self.filter.clear();
                return None;
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(typed) if self.filter.chars().count() < FILTER => self.filter.push(typed),
            _ => {}
        }
        self.mode = Mode::Filter;
        None
    }

    fn at_strategies(&mut self, key: KeyCode, place: usize, watched: &Watched) -> Option<Wish> {
        let names = choices(watched);
        let last = names.len() - 1;
        self.mode = match key {
            KeyCode::Down | KeyCode::Char('j') => Mode::Strategies((place + 1).min(last)),
            KeyCode::Up | KeyCode::Char('k') => Mode::Strategies(place.saturating_sub(1)),
            KeyCode::Enter => Mode::Confirm(Change::Strategy(names[place.min(last)].to_owned())),
            KeyCode::Esc | KeyCode::Char('q' | 'n') => Mode::Table,
            _ => Mode::Strategies(place),
        };
        None
    }

    fn at_weight(&mut self, key: KeyCode, backend: String, mut typed: String) -> Option<Wish> {
        match key {
            KeyCode::Esc | KeyCode::Char('q' | 'n') => return None,
            KeyCode::Backspace => {
                typed.pop();
            }
            KeyCode::Char(digit) if digit.is_ascii_digit() && typed.len() < DIGITS => {
                typed.push(digit);
            }
            KeyCode::Enter => {
                if let Ok(weight @ 1..) = typed.parse() {
                    self.mode = Mode::Confirm(Change::Weight(backend, weight));
                    return None;
                }
            }
            _ => {}
        }
        self.mode = Mode::Weight { backend, typed };
        None
    }

    /// Only a plain yes is a yes; what else is pressed leaves all as it is.
    fn at_question(&mut self, key: KeyCode, change: Change) -> Option<Wish> {
        match key {
            KeyCode::Char('y' | 'Y') => {
                self.mode = Mode::Sent(change.clone());
                Some(Wish::Make(change))
            }
            _ => None,
        }
    }

    /// Questions are of the present, whatever is shown.
    fn ask(&mut self, watched: &Watched, change: fn(String) -> Change) {
        if let Some(backend) = self.chosen(watched) {
            self.mode = Mode::Confirm(change(backend));
        }
    }

    fn chosen(&self, watched: &Watched) -> Option<String> {
        let rows = rows(self.shown(watched), self.sort, self.reversed, &self.filter);
        let names: Vec<&str> = rows.iter().map(|row| row.backend.name.as_str()).collect();
        names.get(self.place(&names)).map(|name| (*name).to_owned())
    }

    fn walk(&mut self, steps: isize, watched: &Watched) {
        let rows = rows(self.shown(watched), self.sort, self.reversed, &self.filter);
        let names: Vec<&str> = rows.iter().map(|row| row.backend.name.as_str()).collect();
        let last = names.len().saturating_sub(1);
        let place = self.place(&names).saturating_add_signed(steps).min(last);
        self.selected = names.get(place).map(|name| (*name).to_owned());
    }

    fn choose_strategy(&mut self, watched: &Watched) {
        let now = watched.last().map_or("", |last| last.strategy.as_str());
        let place = choices(watched).iter().position(|name| *name == now);
        self.mode = Mode::Strategies(place.unwrap_or(0));
    }

    fn stop_or_go(&mut self, watched: &Watched) {
        self.stopped = match self.stopped {
            Some(_) => None,
            None => Some(Box::new(watched.clone())),
        };
    }
}

/// What the list of strategies offers; never nothing.
pub(super) fn choices(watched: &Watched) -> Vec<&str> {
    let known = watched.strategies.iter().map(String::as_str);
    known.chain([AUTO]).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::watched::Update;
    use super::super::watched::tests::{sample, watched};
    use super::*;
    use std::time::Instant;

    /// Types: `⏎` is enter, `⎋` escape, `↓` and `↑` the arrows, `⌫` backspace.
    pub(in super::super) fn typed(
        screen: &mut Screen,
        watched: &Watched,
        keys: &str,
    ) -> Option<Wish> {
        let mut wish = None;
        for key in keys.chars() {
            let code = match key {
                '⏎' => KeyCode::Enter,
                '⎋' => KeyCode::Esc,
                '↓' => KeyCode::Down,
                '↑' => KeyCode::Up,
                '⌫' => KeyCode::Backspace,
                other => KeyCode::Char(other),
            };
            wish = screen.press(KeyEvent::from(code), watched);
        }
        wish
    }

    fn three() -> Watched {
        let mut watched = watched(&[
            ("w1", "healthy", 3, 0),
            ("w2", "healthy", 2, 0),
            ("w3", "ejected", 0, 0),
        ]);
        let names = ["adaptive", "random"].map(str::to_owned).to_vec();
        watched.apply(Update::Strategies(names), Instant::now());
        watched
    }

    fn asked(keys: &str) -> Mode {
        let mut screen = Screen::default();
        assert_eq!(typed(&mut screen, &three(), keys), None);
        screen.mode
    }

    #[test]
    fn keys_ask_before_anything_is_done() {
        let drain = |name: &str| Mode::Confirm(Change::Drain(name.to_owned()));
        assert_eq!(asked("d"), drain("w3"), "trouble is on top, and chosen");
        assert_eq!(asked("↓d"), drain("w1"));
        assert_eq!(asked("jjkd"), drain("w1"));
        assert_eq!(asked("Gd"), drain("w2"));
        assert_eq!(asked("/w2⏎d"), drain("w2"));
        assert_eq!(asked("/w2⌫1⏎d"), drain("w1"));
        assert_eq!(asked("e"), Mode::Confirm(Change::Enable("w3".to_owned())));
        assert_eq!(
            asked("w12⌫5⏎"),
            Mode::Confirm(Change::Weight("w3".to_owned(), 15))
        );
        assert_eq!(
            asked("t↓⏎"),
            Mode::Confirm(Change::Strategy("random".to_owned()))
        );
        assert_eq!(
            asked("t↓↓↓⏎"),
            Mode::Confirm(Change::Strategy(AUTO.to_owned()))
        );
    }

    #[test]
    fn only_a_yes_makes_a_change() {
        for no in ["dn", "d⏎", "d⎋", "dq", "dd"] {
            let mut screen = Screen::default();
            assert_eq!(typed(&mut screen, &three(), no), None, "{no}");
            assert_eq!(screen.mode, Mode::Table, "{no}");
        }
        let mut screen = Screen::default();
        let change = Change::Drain("w3".to_owned());
        let wish = typed(&mut screen, &three(), "dy");
        assert_eq!(wish, Some(Wish::Make(change.clone())));
        screen.answer(&change, Err("no such backend".to_owned()));
        let Mode::Answer { title, lines, good } = &screen.mode else {
            panic!("{:?}", screen.mode);
        };
        assert_eq!(
            (title.as_str(), lines.len(), *good),
            ("not done: drain w3", 1, false)
        );
        assert_eq!(
            typed(&mut screen, &three(), "q"),
            None,
            "it closes the answer"
        );
        assert_eq!(typed(&mut screen, &three(), "q"), Some(Wish::Quit));
    }

    #[test]
    fn answer_does_not_take_the_keyboard_from_who_types() {
        let mut screen = Screen::default();
        typed(&mut screen, &three(), "ey");
        // Whoever does not wait for the answer closes the notice that it is on its way.
        typed(&mut screen, &three(), "xw");
        let change = Change::Enable("w3".to_owned());
        screen.answer(&change, Ok(vec!["enabled".to_owned()]));
        screen.answer(&change, Err("no such backend".to_owned()));
        typed(&mut screen, &three(), "7⏎");
        let weight = Mode::Confirm(Change::Weight("w3".to_owned(), 7));
        assert_eq!(screen.mode, weight);
        typed(&mut screen, &three(), "n");
        let goods = [(); 2].map(|()| {
            let Mode::Answer { good, .. } = screen.mode else {
                panic!("{:?}", screen.mode);
            };
            typed(&mut screen, &three(), "x");
            good
        });
        assert_eq!(goods, [true, false]);
        assert_eq!(screen.mode, Mode::Table);
    }

    #[test]
    fn weight_is_one_that_can_be() {
        for wrong in ["w⏎", "w0⏎", "w65536⏎", "wx⏎"] {
            assert!(matches!(asked(wrong), Mode::Weight { .. }), "{wrong}");
        }
    }

    #[test]
    fn control_c_quits_from_everywhere() {
        for before in ["", "/", "d", "t", "w", "?"] {
            let mut screen = Screen::default();
            typed(&mut screen, &three(), before);
            let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
            assert_eq!(screen.press(key, &three()), Some(Wish::Quit), "{before}");
            let (key, mode) = (
                KeyEvent::new(KeyCode::Char('y'), KeyModifiers::ALT),
                screen.mode.clone(),
            );
            assert_eq!(screen.press(key, &three()), None, "{before}");
            assert_eq!(screen.mode, mode, "another key");
        }
    }

    #[test]
    fn selection_stays_with_the_backend_when_the_order_changes() {
        let mut screen = Screen::default();
        typed(&mut screen, &three(), "↓");
        let moved = watched(&[
            ("w1", "ejected", 0, 0),
            ("w2", "healthy", 9, 0),
            ("w3", "healthy", 1, 0),
        ]);
        typed(&mut screen, &moved, "sd");
        assert_eq!(screen.mode, Mode::Confirm(Change::Drain("w1".to_owned())));
    }

    #[test]
    fn stopped_picture_shows_what_was() {
        let mut screen = Screen::default();
        let mut watched = three();
        typed(&mut screen, &watched, "p");
        let later = Box::new(sample(99, &[("w9", "healthy", 1, 0)]));
        watched.apply(Update::Sample(later), Instant::now());
        assert_eq!(screen.shown(&watched).backends.len(), 3);
        typed(&mut screen, &watched, "p");
        assert_eq!(screen.shown(&watched).backends.len(), 1);
    }

    #[test]
    fn nothing_to_choose_is_no_question() {
        let mut screen = Screen::default();
        let nobody = Watched::default();
        typed(&mut screen, &nobody, "↓↑Gdew");
        assert_eq!(screen.mode, Mode::Table);
        typed(&mut screen, &nobody, "t⏎");
        assert_eq!(
            screen.mode,
            Mode::Confirm(Change::Strategy(AUTO.to_owned()))
        );
    }
}
