//! Colours and weights. Colour only ever adds to what words and symbols say, and is left out where `NO_COLOR` is set: here, though
//! crossterm leaves it out as well, because that writes what is left of a colour's sequence, which takes bold away too.

use super::super::sample::State;
use super::super::verdict::Level;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

/// How things look.
#[derive(Clone, Copy)]
pub(in super::super) struct Theme {
    pub(in super::super) has_colour: bool,
}

impl Theme {
    /// As <https://no-color.org> has it: set and not empty.
    pub(in super::super) fn from_process() -> Self {
        let has_colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Theme { has_colour }
    }

    /// One of the terminal's own sixteen colours, which its owner made readable.
    fn colour(self, colour: Color) -> Style {
        match self.has_colour {
            true => Style::new().fg(colour),
            false => Style::new(),
        }
    }

    pub(super) fn level(self, level: Level) -> Style {
        match level {
            Level::Fine => self.colour(Color::Green),
            Level::Note => Style::new(),
            Level::Warn => self.colour(Color::Yellow).add_modifier(Modifier::BOLD),
            Level::Bad => self.colour(Color::Red).add_modifier(Modifier::BOLD),
        }
    }

    pub(super) fn state(self, state: State) -> Style {
        match state {
            State::Healthy => self.level(Level::Fine),
            State::Degraded => self.level(Level::Warn),
            State::Ejected | State::Unhealthy => self.level(Level::Bad),
            State::Starting | State::Draining | State::Unknown => self.colour(Color::Cyan),
        }
    }

    pub(super) fn mark(self, level: Level) -> Span<'static> {
        Span::styled(level.symbol().to_string(), self.level(level))
    }

    pub(super) fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(super) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(super) fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(super) fn spark(self) -> Style {
        self.colour(Color::Cyan)
    }

    /// A line across with a title in it.
    pub(super) fn rule(self, title: &str, width: u16) -> Line<'static> {
        let rest = usize::from(width).saturating_sub(title.chars().count() + 4);
        let text = format!("── {title} {}", "─".repeat(rest));
        Line::styled(text, self.dim())
    }
}
