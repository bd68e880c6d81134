//! The backends as a table: as many columns as there is room for, the telling ones first to stay.

use super::super::figures;
use super::super::happened::one_line;
use super::super::rows::{Row, Sort, rows};
use super::super::verdict::{Level, MANY_ERRORS, SOME_ERRORS};
use super::super::watched::Watched;
use super::{Picture, spark};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

/// A name that is longer is cut.
const NAME: usize = 24;
/// Fewer columns are no trend, and more say no more.
const TREND: std::ops::RangeInclusive<usize> = 8..=60;
/// Where there is room for reasons, a trend has so much.
const TREND_BESIDE_WHY: usize = 20;
/// Fewer columns are no reason.
const WHY: usize = 24;

#[derive(Clone, Copy, PartialEq)]
enum Column {
    State,
    Name,
    Share,
    Rate,
    P50,
    P99,
    Errors,
    InFlight,
    Weight,
    Ejections,
    Trend,
    Why,
}

/// From left to right, each with its width; that of 0 is worked out.
const COLUMNS: [(Column, usize); 12] = [
    (Column::State, 11),
    (Column::Name, 0),
    (Column::Share, 5),
    (Column::Rate, 6),
    (Column::P50, 6),
    (Column::P99, 6),
    (Column::Errors, 5),
    (Column::InFlight, 5),
    (Column::Weight, 6),
    (Column::Ejections, 5),
    (Column::Trend, 0),
    (Column::Why, 0),
];

/// Who stays longest when it becomes narrow, first.
const TELLING: [Column; 10] = [
    Column::State,
    Column::Name,
    Column::Errors,
    Column::Rate,
    Column::P99,
    Column::InFlight,
    Column::Share,
    Column::P50,
    Column::Weight,
    Column::Ejections,
];

impl Column {
    fn head(self) -> &'static str {
        match self {
            Column::State => "STATE",
            Column::Name => "NAME",
            Column::Share => "SHARE",
            Column::Rate => "RATE/S",
            Column::P50 => "P50",
            Column::P99 => "P99",
            Column::Errors => "ERR",
            Column::InFlight => "INFL",
            Column::Weight => "WEIGHT",
            Column::Ejections => "EJECT",
            Column::Trend => "TREND",
            Column::Why => "WHY",
        }
    }

    fn is_text(self) -> bool {
        matches!(
            self,
            Column::State | Column::Name | Column::Trend | Column::Why
        )
    }

    fn is_sorted_by(self, sort: Sort) -> bool {
        matches!(
            (self, sort),
            (Column::State, Sort::Trouble)
                | (Column::Name, Sort::Name)
                | (Column::Rate, Sort::Rate)
                | (Column::P50, Sort::P50)
                | (Column::P99, Sort::P99)
                | (Column::Errors, Sort::Errors)
                | (Column::InFlight, Sort::InFlight)
                | (Column::Weight, Sort::Weight)
                | (Column::Ejections, Sort::Ejections)
        )
    }

    fn cell(self, row: &Row<'_>, watched: &Watched, width: usize, most: u64) -> String {
        let backend = row.backend;
        match self {
            Column::State => format!("{} {}", backend.state.symbol(), backend.state.word()),
            Column::Name => one_line(&backend.name),
            Column::Share => figures::percent(backend.share),
            Column::Rate => figures::rate(row.rate),
            Column::P50 => figures::time_or_none(backend.p50_seconds),
            Column::P99 => figures::time_or_none(backend.p99_seconds),
            Column::Errors => figures::percent(row.errors),
            Column::InFlight => backend.in_flight.to_string(),
            Column::Weight => figures::weight(backend.weight),
            Column::Ejections => backend.ejections.to_string(),
            Column::Trend => {
                let past = watched.past(&backend.name);
                spark::line(past.map(|moment| moment.requests), width, most)
            }
            Column::Why => one_line(backend.why.as_deref().unwrap_or("")),
        }
    }
}

/// The columns that fit, with their widths; one space is between two.
fn fitting(room: usize, name: usize) -> Vec<(Column, usize)> {
    let width = |column: Column| match column {
        Column::Name => name,
        column => COLUMNS
            .iter()
            .find(|it| it.0 == column)
            .map_or(0, |it| it.1),
    };
    let mut left = room;
    let mut chosen: Vec<(Column, usize)> = Vec::new();
    for column in TELLING {
        let needed = width(column) + usize::from(!chosen.is_empty());
        if needed > left {
            break;
        }
        left -= needed;
        chosen.push((column, width(column)));
    }
    if chosen.len() == TELLING.len() {
        chosen.extend(the_rest(left));
    }
    let place = |column: Column| COLUMNS.iter().position(|it| it.0 == column);
    chosen.sort_by_key(|(column, _)| place(*column));
    chosen
}

/// What is made of the room that figures leave.
fn the_rest(left: usize) -> Vec<(Column, usize)> {
    match left {
        left if left >= TREND_BESIDE_WHY + WHY + 2 => vec![
            (Column::Trend, TREND_BESIDE_WHY),
            (Column::Why, left - TREND_BESIDE_WHY - 2),
        ],
        left if left > *TREND.start() => vec![(Column::Trend, (left - 1).min(*TREND.end()))],
        _ => Vec::new(),
    }
}

pub(super) fn draw(picture: &Picture<'_>, shown: &Watched, frame: &mut Frame<'_>, area: Rect) {
    let screen = picture.screen;
    let rows = rows(shown, screen.sort, screen.reversed, &screen.filter);
    let longest = rows
        .iter()
        .map(|row| row.backend.name.chars().count())
        .max();
    let name = longest.unwrap_or(0).clamp(4, NAME);
    let columns = fitting(usize::from(area.width).saturating_sub(1), name);
    let names: Vec<&str> = rows.iter().map(|row| row.backend.name.as_str()).collect();
    let chosen = screen.place(&names);
    let room = usize::from(area.height).saturating_sub(2);
    let first = first_shown(chosen, room, rows.len());

    // One scale for all: who gets little looks so.
    let most = shown.most_requests();
    let mut lines = vec![head(picture, &columns)];
    for (place, row) in rows.iter().enumerate().skip(first).take(room) {
        let line = line(picture, shown, &columns, row, most);
        lines.push(match place == chosen {
            true => line.style(picture.theme.chosen()),
            false => line,
        });
    }
    if rows.is_empty() && room > 0 {
        let nobody = if shown.backends.is_empty() {
            " no backends"
        } else {
            " no backend is meant by the filter"
        };
        lines.push(Line::styled(nobody, picture.theme.dim()));
    }
    for (line, row) in lines.into_iter().zip(area.rows()) {
        frame.render_widget(line, row);
    }
    if let Some(last) = area.rows().next_back().filter(|_| area.height > 2) {
        let has_why = columns.iter().any(|(column, _)| *column == Column::Why);
        let why = rows.get(chosen).filter(|_| !has_why).and_then(reason);
        let why = why.map_or_else(String::new, |why| format!(" ── {why}"));
        let title = order(picture, first, room, rows.len()) + &why;
        frame.render_widget(picture.theme.rule(&title, area.width), last);
    }
}

/// The first row on the screen: the chosen one is always on it, and it moves only when it must.
fn first_shown(chosen: usize, room: usize, count: usize) -> usize {
    let lowest = (chosen + 1).saturating_sub(room);
    // By whole pages, so that walking down does not move every row at each step.
    let page = chosen / room.max(1) * room.max(1);
    page.min(count.saturating_sub(room)).max(lowest)
}

fn head(picture: &Picture<'_>, columns: &[(Column, usize)]) -> Line<'static> {
    let spans = columns.iter().flat_map(|(column, width)| {
        let style = match column.is_sorted_by(picture.screen.sort) {
            true => Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED),
            false => picture.theme.dim(),
        };
        let head = column.head();
        let gap = width.saturating_sub(head.len());
        // The mark is of the word, not of the gap beside it.
        match column.is_text() {
            true => [
                Span::raw(" "),
                Span::styled(head, style),
                Span::raw(" ".repeat(gap)),
            ],
            false => [
                Span::raw(" "),
                Span::raw(" ".repeat(gap)),
                Span::styled(head, style),
            ],
        }
    });
    Line::from(spans.collect::<Vec<_>>())
}

fn line(
    picture: &Picture<'_>,
    shown: &Watched,
    columns: &[(Column, usize)],
    row: &Row<'_>,
    most: u64,
) -> Line<'static> {
    let spans = columns.iter().map(|(column, width)| {
        let width = *width;
        let cell: String = column
            .cell(row, shown, width, most)
            .chars()
            .take(width)
            .collect();
        let text = match column.is_text() {
            true => format!(" {cell:<width$}"),
            false => format!(" {cell:>width$}"),
        };
        Span::styled(text, style(picture, *column, row))
    });
    Line::from(spans.collect::<Vec<_>>())
}

fn style(picture: &Picture<'_>, column: Column, row: &Row<'_>) -> Style {
    match column {
        Column::State => picture.theme.state(row.backend.state),
        Column::Errors if row.errors >= MANY_ERRORS => picture.theme.level(Level::Bad),
        Column::Errors if row.errors >= SOME_ERRORS => picture.theme.level(Level::Warn),
        Column::Trend => picture.theme.spark(),
        _ => Style::new(),
    }
}

/// `w3: 5 failures in a row`.
fn reason(row: &Row<'_>) -> Option<String> {
    let why = row.backend.why.as_deref()?;
    Some(format!(
        "{}: {}",
        one_line(&row.backend.name),
        one_line(why)
    ))
}

/// Which of how many, in which order.
fn order(picture: &Picture<'_>, first: usize, room: usize, count: usize) -> String {
    let screen = picture.screen;
    let shown = match count > room {
        true => format!("{}-{} of {count}", first + 1, (first + room).min(count)),
        false => figures::count(count as u64, "backend"),
    };
    let reversed = if screen.reversed { ", reversed" } else { "" };
    let filter = match screen.filter.is_empty() {
        true => String::new(),
        false => format!(" with `{}`", screen.filter),
    };
    format!("{shown}{filter} by {}{reversed}", screen.sort.word())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fit_whatever_the_room() {
        for room in 0..200 {
            let columns = fitting(room, 8);
            let gaps = columns.len().saturating_sub(1);
            let width: usize = columns.iter().map(|it| it.1).sum::<usize>() + gaps;
            assert!(width <= room, "{width} in {room}");
        }
        let has = |room: usize, column: Column| fitting(room, 8).iter().any(|it| it.0 == column);
        assert!(has(39, Column::Errors) && has(39, Column::Rate) && !has(39, Column::Weight));
        assert!(has(79, Column::Ejections), "80 columns hold every figure");
        assert!(has(90, Column::Trend) && has(130, Column::Why));
    }

    #[test]
    fn chosen_row_is_always_seen() {
        for count in 1..40 {
            for room in 1..12 {
                for chosen in 0..count {
                    let first = first_shown(chosen, room, count);
                    assert!(
                        (first..first + room).contains(&chosen),
                        "{chosen} of {count} in {room}: {first}"
                    );
                    assert!(first == 0 || first + room <= count, "no empty rows");
                }
            }
        }
    }
}
