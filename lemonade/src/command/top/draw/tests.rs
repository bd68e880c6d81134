//! The picture on terminals of all sizes.

use super::super::screen::Screen;
use super::super::screen::tests::typed;
use super::super::watched::Update;
use super::super::watched::tests::{sample, watched};
use super::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;
use std::time::Duration;

struct Drawn {
    lines: Vec<String>,
    colours: usize,
}

fn drawn_at(
    screen: &Screen,
    watched: &Watched,
    size: (u16, u16),
    has_colour: bool,
    now: Instant,
) -> Drawn {
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
    let picture = Picture {
        address: "127.0.0.1:50500",
        watched,
        screen,
        theme: Theme { has_colour },
        now,
    };
    terminal.draw(|frame| picture.draw(frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let cells = buffer.content().iter();
    let colours = cells
        .filter(|cell| cell.fg != ratatui::style::Color::Reset)
        .count();
    let lines = buffer.content().chunks(usize::from(size.0));
    let lines = lines.map(|line| line.iter().map(|cell| cell.symbol()).collect());
    Drawn {
        lines: lines.collect(),
        colours,
    }
}

fn drawn(screen: &Screen, watched: &Watched, width: u16, height: u16) -> Vec<String> {
    drawn_at(screen, watched, (width, height), false, Instant::now()).lines
}

fn incident() -> Watched {
    let mut watched = watched(&[
        ("w1", "healthy", 90, 0),
        ("w2", "healthy", 10, 10),
        ("w3", "ejected", 0, 0),
    ]);
    let event = json!({ "id": 1, "time": "2026-01-02T03:04:05Z", "type": "state_changed", "backend": "w3", "from": "healthy", "to": "ejected", "cause": "5 failures in a row" });
    watched.apply(Update::Event(event), Instant::now());
    watched
}

#[test]
fn terminal_of_80_by_24_shows_all_that_matters() {
    let lines = drawn(&Screen::default(), &incident(), 80, 24);
    let all = lines.join("\n");
    assert!(
        lines[0].contains("lemonade 127.0.0.1:50500") && lines[0].contains("live 03:00:20 UTC"),
        "{all}"
    );
    assert!(
        lines[1].starts_with(" ✗ errors 10%, 100% of them from w2"),
        "{all}"
    );
    assert!(
        lines[2].starts_with(" ! 1 of 3 backends is out: w3 ejected (5 failures"),
        "{all}"
    );
    assert!(
        lines[3].contains("adaptive: least_delay picks")
            && lines[3].contains("2 of 3 may be picked"),
        "{all}"
    );
    assert!(
        lines[4].contains("100/s")
            && lines[4].contains("20ms p99")
            && lines[4].contains("3 in flight"),
        "{all}"
    );
    assert!(
        lines[5].contains("rate, 5 min")
            && lines[6].contains("peak 100")
            && lines[6].contains("peak 20ms"),
        "{all}"
    );
    assert!(
        lines[7].contains("STATE") && lines[7].contains("EJECT") && lines[7].contains("TREND"),
        "{all}"
    );
    assert!(
        lines[8].starts_with(" ✗ ejected") && lines[9].contains("w2") && lines[10].contains("w1"),
        "{all}"
    );
    assert!(
        lines[9].contains("100%") && lines[10].contains("90") && lines[10].contains('█'),
        "{all}"
    );
    assert!(
        all.contains("── 3 backends by trouble ── w3: 5 failures in a row ─"),
        "{all}"
    );
    assert!(all.contains(" 03:04:05 ✗ w3: healthy -> ejected"), "{all}");
    assert!(
        lines[23].contains("q quit") && lines[23].contains("t strategy"),
        "{all}"
    );
}

#[test]
fn terminal_of_40_by_10_still_says_what_is_wrong() {
    let lines = drawn(&Screen::default(), &incident(), 40, 10);
    let all = lines.join("\n");
    assert!(lines[1].contains("errors 10%"), "{all}");
    assert!(
        all.contains("✗ ejected") && all.contains("w2") && all.contains("ERR"),
        "{all}"
    );
    assert!(lines[9].contains("q quit"), "{all}");
}

#[test]
fn wide_terminal_has_room_for_reasons() {
    let all = drawn(&Screen::default(), &incident(), 160, 40).join("\n");
    assert!(
        all.contains("WHY") && all.contains("3 backends by trouble"),
        "{all}"
    );
}

/// Nothing may panic, whatever the size and whatever is on the screen.
#[test]
fn every_size_is_drawn() {
    for keys in ["", "/abc", "d", "dy", "w12", "t", "?", "p", "t↓⏎"] {
        let (mut screen, watched) = (Screen::default(), incident());
        typed(&mut screen, &watched, keys);
        for (width, height) in (1..130)
            .step_by(9)
            .flat_map(|width| (1..45).step_by(3).map(move |height| (width, height)))
        {
            drawn(&screen, &watched, width, height);
        }
    }
    drawn(&Screen::default(), &Watched::default(), 80, 24);
}

#[test]
fn colour_is_left_out_where_it_is_not_wanted() {
    let (screen, watched) = (Screen::default(), incident());
    let colours = |has| drawn_at(&screen, &watched, (80, 24), has, Instant::now()).colours;
    assert_eq!(colours(false), 0);
    assert!(colours(true) > 20);
}

#[test]
fn question_says_what_will_happen_and_how_to_say_no() {
    let (mut screen, watched) = (Screen::default(), incident());
    typed(&mut screen, &watched, "↓d");
    let all = drawn(&screen, &watched, 80, 24).join("\n");
    assert!(
        all.contains(" drain w2? ") && all.contains("3 in flight finish"),
        "{all}"
    );
    assert!(all.contains("y does it, any other key leaves it"), "{all}");
}

#[test]
fn list_of_strategies_follows_the_choice_on_a_low_terminal() {
    let (mut screen, mut watched) = (Screen::default(), incident());
    let names = (0..12).map(|number| format!("strategy_{number}")).collect();
    watched.apply(Update::Strategies(names), Instant::now());
    typed(&mut screen, &watched, "t↓↓↓↓↓↓↓↓↓↓↓↓");
    let all = drawn(&screen, &watched, 60, 8).join("\n");
    assert!(all.contains("auto") && !all.contains("strategy_0"), "{all}");
}

#[test]
fn age_is_told_when_the_balancer_is_away_or_the_picture_stands() {
    let (mut screen, mut watched) = (Screen::default(), incident());
    let later = Instant::now() + Duration::from_secs(12);
    let top = |screen: &Screen, watched: &Watched| {
        drawn_at(screen, watched, (80, 24), false, later).lines[..2].join("\n")
    };
    assert!(top(&screen, &watched).contains("live, 12 s old"));
    watched.apply(
        Update::Away("connection refused".to_owned()),
        Instant::now(),
    );
    let away = top(&screen, &watched);
    assert!(
        away.contains("AWAY, 12 s old") && away.contains("the balancer is away, trying again"),
        "{away}"
    );
    typed(&mut screen, &watched, "p");
    assert!(top(&screen, &watched).contains("PAUSED, 12 s old"));
}

#[test]
fn thousand_backends_scroll() {
    let names: Vec<String> = (0..1000).map(|number| format!("w{number}")).collect();
    let backends: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), "healthy", 1, 0))
        .collect();
    let mut watched = Watched::default();
    watched.apply(
        Update::Sample(Box::new(sample(1, &backends))),
        Instant::now(),
    );
    let mut screen = Screen::default();
    let all = drawn(&screen, &watched, 80, 24).join("\n");
    assert!(
        all.contains(" w0 ") && all.contains("of 1000 by trouble"),
        "{all}"
    );
    typed(&mut screen, &watched, "G");
    let all = drawn(&screen, &watched, 80, 24).join("\n");
    assert!(
        all.contains(" w999 ") && all.contains("-1000 of 1000"),
        "{all}"
    );
}
