//! The head of the picture: what is wrong, in words; the figures of the whole; how they went.

use super::super::figures;
use super::super::happened::clock;
use super::super::sample::Totals;
use super::super::verdict::{Finding, Level, STALE, seconds};
use super::super::watched::{Link, MINUTES, Watched};
use super::spark::{Merge, columns};
use super::wrap::wrap;
use super::{Picture, worst};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Sparkline, SparklineBar};

/// From which height on the line of the strategy, and the sparklines, have a place.
const ROOM: u16 = 14;
/// Before a sparkline: what it is of, and its peak.
const LABEL: u16 = 12;

pub(super) struct Header<'h> {
    picture: &'h Picture<'h>,
    shown: &'h Watched,
    lines: Vec<Line<'static>>,
    spark: u16,
}

impl<'h> Header<'h> {
    pub(super) fn new(
        picture: &'h Picture<'h>,
        shown: &'h Watched,
        findings: &[Finding],
        area: Rect,
    ) -> Self {
        let mut lines = vec![title(picture, shown, area.width)];
        lines.extend(verdict(picture, findings, area));
        if let Some(last) = shown.last() {
            if area.height >= ROOM {
                lines.push(strategy(picture, last));
            }
            lines.push(numbers(picture, shown, last));
        }
        let spark = match area.height {
            0..ROOM => 0,
            ROOM..20 => 1,
            20..40 => 2,
            _ => 3,
        };
        Header {
            picture,
            shown,
            lines,
            spark,
        }
    }

    pub(super) fn height(&self) -> u16 {
        self.lines.len() as u16 + self.spark
    }

    pub(super) fn draw(&self, frame: &mut Frame<'_>, area: Rect) {
        let [text, sparks] =
            Layout::vertical([Constraint::Min(0), Constraint::Length(self.spark)]).areas(area);
        for (line, row) in self.lines.iter().zip(text.rows()) {
            frame.render_widget(line, row);
        }
        if sparks.height > 0 {
            let [left, right] =
                Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(sparks);
            let rate = |it: &Totals| Some(it.rate());
            self.spark(frame, left, "rate", Merge::Mean, rate, figures::rate);
            let p99 = |it: &Totals| it.p99_seconds;
            self.spark(frame, right, "p99", Merge::Most, p99, figures::time);
        }
    }

    fn spark(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        what: &str,
        merge: Merge,
        of: impl Fn(&Totals) -> Option<f64>,
        say: fn(f64) -> String,
    ) {
        let [label, bars] =
            Layout::horizontal([Constraint::Length(LABEL), Constraint::Min(0)]).areas(area);
        let values = columns(
            &self.shown.totals,
            MINUTES,
            usize::from(bars.width),
            merge,
            of,
        );
        let most = values.iter().flatten().copied().reduce(f64::max);
        let peak = most.map_or_else(|| "-".to_owned(), say);
        let told = match area.height {
            1 => vec![format!(" {what} ≤{peak}")],
            _ => vec![format!(" {what}, 5 min"), format!(" peak {peak}")],
        };
        for (line, row) in told.into_iter().zip(label.rows()) {
            frame.render_widget(Line::styled(line, self.picture.theme.dim()), row);
        }
        // In thousandths of the peak: bars are whole numbers.
        let scale = 1000.0 / most.filter(|most| *most > 0.0).unwrap_or(1.0);
        let scaled = values
            .into_iter()
            .map(|value| SparklineBar::from(value.map(|it| (it * scale) as u64)));
        let sparkline = Sparkline::default()
            .data(scaled.collect::<Vec<_>>())
            .max(1000)
            .style(self.picture.theme.spark());
        frame.render_widget(sparkline, bars);
    }
}

/// Whose picture it is, and how old it is.
fn title(picture: &Picture<'_>, shown: &Watched, width: u16) -> Line<'static> {
    let left = format!(" lemonade {}", picture.address);
    let age = shown.age(picture.now);
    let old = age.map_or_else(String::new, |age| format!(", {} old", seconds(age)));
    let (style, right) = match &shown.link {
        _ if picture.screen.is_stopped() => (
            picture.theme.level(Level::Warn),
            format!("PAUSED{old} (p goes on) "),
        ),
        Link::Connecting => (picture.theme.dim(), "connecting ".to_owned()),
        Link::Away(_) => (picture.theme.level(Level::Bad), format!("AWAY{old} ")),
        Link::Live if age.is_some_and(|age| age >= STALE) => {
            (picture.theme.level(Level::Warn), format!("live{old} "))
        }
        Link::Live => {
            let time = shown.last().map_or("", |last| clock(&last.time));
            (picture.theme.dim(), format!("live {time} UTC "))
        }
    };
    let taken = left.chars().count() + right.chars().count();
    let gap = usize::from(width).saturating_sub(taken).max(1);
    Line::from(vec![
        Span::styled(left, picture.theme.strong()),
        Span::raw(" ".repeat(gap)),
        Span::styled(right, style),
    ])
}

/// The findings, in as many lines as there is room for.
fn verdict(picture: &Picture<'_>, findings: &[Finding], area: Rect) -> Vec<Line<'static>> {
    let room = usize::from(area.height / 6).clamp(1, 6);
    let width = usize::from(area.width).saturating_sub(4);
    let mut lines = Vec::new();
    for finding in findings {
        let style = picture.theme.level(finding.level);
        for (place, text) in wrap(&finding.words, width).into_iter().enumerate() {
            let mark = if place == 0 {
                finding.level.symbol()
            } else {
                ' '
            };
            lines.push(Line::styled(format!(" {mark} {text}"), style));
        }
    }
    if lines.len() > room {
        lines.truncate(room);
        if let Some(last) = lines.last_mut() {
            last.push_span(Span::styled("…", picture.theme.level(worst(findings))));
        }
    }
    lines
}

fn strategy(picture: &Picture<'_>, last: &Totals) -> Line<'static> {
    let picks = match last.strategy == last.picks {
        true => last.strategy.clone(),
        false => format!("{}: {} picks", last.strategy, last.picks),
    };
    let rest = format!(
        "  {}  {} of {} may be picked  {}",
        last.phase,
        last.backends_eligible,
        last.backends_all,
        figures::count(last.connections, "connection")
    );
    Line::from(vec![
        Span::raw(" "),
        Span::styled(picks, picture.theme.strong()),
        Span::raw(rest),
    ])
}

fn numbers(picture: &Picture<'_>, shown: &Watched, last: &Totals) -> Line<'static> {
    let sum = |of: fn(&Totals) -> u64| shown.recent().map(of).sum::<u64>();
    let errors = figures::share(sum(Totals::errors), sum(|it| it.requests));
    let figures = [
        (figures::rate(last.rate()), "/s"),
        (figures::percent(errors), " errors"),
        (figures::time_or_none(last.p50_seconds), " p50"),
        (figures::time_or_none(last.p99_seconds), " p99"),
        (last.in_flight.to_string(), " in flight"),
        (last.queued.to_string(), " queued"),
        (last.retries.to_string(), " retries"),
    ];
    let spans = figures.into_iter().flat_map(|(figure, what)| {
        [
            Span::styled(format!(" {figure}"), picture.theme.strong()),
            Span::styled(format!("{what} "), picture.theme.dim()),
        ]
    });
    Line::from(spans.collect::<Vec<_>>())
}
