//! What lies over the picture: questions, answers, the list of strategies, help.

use super::super::change::{AUTO, Change};
use super::super::screen::{Mode, choices};
use super::super::verdict::Level;
use super::Picture;
use super::wrap::wrap;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::{Block, Clear, Paragraph};

/// Wider lines are hard to read.
const WIDTH: u16 = 64;

const HELP: [&str; 14] = [
    "up down j k   choose a backend (page up, page down, home, end)",
    "s             sort by the next figure; trouble first is the default",
    "r             the other way round",
    "/             only backends whose name or state holds the text",
    "esc           all of them, and nobody chosen",
    "d             drain the chosen one: it gets no new request",
    "e             enable it again",
    "w             its weight",
    "t             the strategy",
    "p             stop the picture; p again goes on",
    "q, ctrl-c     quit; the balancer goes on",
    "",
    "ERR is the share of 5xx in the last 10 s, EJECT how often it was",
    "ejected. Nothing is changed without a question before it.",
];

struct Dialog {
    title: String,
    lines: Vec<Line<'static>>,
    keys: &'static str,
    style: Style,
    /// The line that has to be seen.
    at: usize,
}

pub(super) fn draw(picture: &Picture<'_>, frame: &mut Frame<'_>, area: Rect) {
    let width = WIDTH.min(area.width.saturating_sub(2));
    if let Some(dialog) = dialog(picture, usize::from(width.saturating_sub(4))) {
        dialog.draw(frame, area, width);
    }
}

impl Dialog {
    fn draw(self, frame: &mut Frame<'_>, area: Rect, width: u16) {
        let height = (self.lines.len() as u16 + 2).min(area.height);
        let place = Rect {
            x: area.x + (area.width - width) / 2,
            y: area.y + (area.height - height) / 2,
            width,
            height,
        };
        let block = Block::bordered()
            .title(format!(" {} ", self.title))
            .title_bottom(format!(" {} ", self.keys))
            .border_style(self.style)
            .padding(ratatui::widgets::Padding::horizontal(1));
        let room = usize::from(height.saturating_sub(2));
        let hidden = (self.at + 1).saturating_sub(room);
        let text = Paragraph::new(self.lines).scroll((hidden as u16, 0));
        frame.render_widget(Clear, place);
        frame.render_widget(text.block(block), place);
    }
}

fn dialog(picture: &Picture<'_>, width: usize) -> Option<Dialog> {
    let plain = |title: String, text: Vec<String>, keys: &'static str| Dialog {
        title,
        lines: text
            .iter()
            .flat_map(|text| wrap(text, width))
            .map(Line::raw)
            .collect(),
        keys,
        style: picture.theme.strong(),
        at: 0,
    };
    Some(match &picture.screen.mode {
        Mode::Table | Mode::Filter => return None,
        Mode::Help => plain(
            "keys".to_owned(),
            HELP.map(str::to_owned).to_vec(),
            "any key closes it",
        ),
        Mode::Confirm(change) => question(picture, change, plain),
        Mode::Sent(change) => {
            let text = vec!["Asked; the answer is on its way.".to_owned()];
            plain(change.title().replace('?', ""), text, "")
        }
        Mode::Weight { backend, typed } => {
            let now = picture.watched.backend(backend).map_or(0.0, |it| it.weight);
            let now = super::super::figures::weight(now);
            let text = vec![
                format!("{typed}_"),
                format!("1 to 65535; what counts now is {now}."),
            ];
            plain(
                format!("weight of {backend}"),
                text,
                "enter goes on, esc leaves it",
            )
        }
        Mode::Answer { title, lines, good } => Dialog {
            style: picture
                .theme
                .level(if *good { Level::Fine } else { Level::Bad }),
            ..plain(title.clone(), lines.clone(), "any key closes it")
        },
        Mode::Strategies(place) => strategies(picture, *place),
    })
}

fn question(
    picture: &Picture<'_>,
    change: &Change,
    plain: impl Fn(String, Vec<String>, &'static str) -> Dialog,
) -> Dialog {
    let text = change.consequences(picture.watched);
    Dialog {
        style: picture.theme.level(Level::Warn),
        ..plain(change.title(), text, "y does it, any other key leaves it")
    }
}

fn strategies(picture: &Picture<'_>, place: usize) -> Dialog {
    let now = picture
        .watched
        .last()
        .map_or("", |last| last.strategy.as_str());
    let names = choices(picture.watched);
    let line = |(at, name): (usize, &&str)| {
        let mark = if *name == now { "now" } else { "" };
        let what = if *name == AUTO {
            "what the configuration says"
        } else {
            mark
        };
        let line = Line::raw(format!(" {name:<24} {what}"));
        match at == place {
            true => line.style(picture.theme.chosen()),
            false => line,
        }
    };
    Dialog {
        title: "strategy".to_owned(),
        lines: names.iter().enumerate().map(line).collect(),
        keys: "enter goes on, esc leaves it",
        style: picture.theme.strong(),
        at: place,
    }
}
