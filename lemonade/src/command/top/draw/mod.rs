//! The picture: what was seen, as the person chose to see it, on however large a terminal. Draws and decides nothing.

mod dialog;
mod header;
pub(super) mod spark;
mod table;
mod theme;
mod wrap;

pub(super) use theme::Theme;

use super::screen::{Mode, Screen};
use super::verdict::{self, Level};
use super::watched::Watched;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use std::time::Instant;

/// Lower terminals have no events.
const EVENTS_FROM: u16 = 16;
const KEYS: [(&str, &str); 10] = [
    ("q", "quit"),
    ("?", "help"),
    ("d", "drain"),
    ("e", "enable"),
    ("w", "weight"),
    ("t", "strategy"),
    ("s", "sort"),
    ("r", "flip"),
    ("/", "filter"),
    ("p", "pause"),
];

/// What is drawn, besides what it is drawn on.
pub(super) struct Picture<'p> {
    /// Where the admin API is.
    pub(super) address: &'p str,
    pub(super) watched: &'p Watched,
    pub(super) screen: &'p Screen,
    pub(super) theme: Theme,
    pub(super) now: Instant,
}

impl Picture<'_> {
    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        if area.width < 10 || area.height < 4 {
            frame.render_widget(Line::raw("too small"), area);
            return;
        }
        let shown = self.screen.shown(self.watched);
        let findings = verdict::verdict(shown, self.now);
        let header = header::Header::new(self, shown, &findings, area);
        let [top, table, events, footer] = Layout::vertical([
            Constraint::Length(header.height()),
            Constraint::Min(3),
            Constraint::Length(events_height(area.height)),
            Constraint::Length(1),
        ])
        .areas(area);
        header.draw(frame, top);
        table::draw(self, shown, frame, table);
        self.events(shown, frame, events);
        frame.render_widget(self.footer(), footer);
        dialog::draw(self, frame, area);
    }

    /// The newest on top, so that what is cut off is old.
    fn events(&self, shown: &Watched, frame: &mut Frame<'_>, area: Rect) {
        if area.height == 0 {
            return;
        }
        let mut lines = vec![self.theme.rule("events, newest first (UTC)", area.width)];
        if shown.events.is_empty() {
            lines.push(Line::styled(" none yet", self.theme.dim()));
        }
        lines.extend(shown.events.iter().rev().map(|event| {
            Line::from(vec![
                Span::styled(format!(" {} ", event.clock()), self.theme.dim()),
                self.theme.mark(event.level),
                Span::raw(format!(" {}", event.words)),
            ])
        }));
        lines.truncate(usize::from(area.height));
        for (line, row) in lines.into_iter().zip(area.rows()) {
            frame.render_widget(line, row);
        }
    }

    fn footer(&self) -> Line<'static> {
        if self.screen.mode == Mode::Filter {
            return Line::from(vec![
                Span::styled(format!(" /{}_", self.screen.filter), self.theme.strong()),
                Span::styled("  enter keeps it, esc clears it", self.theme.dim()),
            ]);
        }
        let keys = KEYS.iter().flat_map(|(key, what)| {
            [
                Span::styled(format!(" {key}"), self.theme.strong()),
                Span::styled(format!(" {what}"), self.theme.dim()),
            ]
        });
        Line::from(keys.collect::<Vec<_>>())
    }
}

fn events_height(height: u16) -> u16 {
    match height {
        0..EVENTS_FROM => 0,
        height => (height / 4).clamp(4, 14),
    }
}

/// The worst of the findings.
fn worst(findings: &[verdict::Finding]) -> Level {
    findings
        .first()
        .map_or(Level::Note, |finding| finding.level)
}

#[cfg(test)]
mod tests;
