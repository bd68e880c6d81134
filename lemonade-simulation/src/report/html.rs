//! A comparison as one HTML file that needs no network: tables, and plots that follow the reader's light or dark.

use super::plot::{COLOURS, band_name, bands, percentiles, shares_over_time, tail_over_time};
use super::table::{errors, percent, shown};
use super::{Comparison, IDEAL, Run, overall};
use std::fmt::Write as _;

const STYLE: &str = include_str!("style.css");

/// The whole page. `title` is what it is called; it is the same for the same comparisons.
pub fn html(title: &str, comparisons: &[Comparison]) -> String {
    let title = escape(title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n<main>\n<h1>{title}</h1>\n"
    );
    if comparisons.len() > 1 {
        contents(&mut page, comparisons);
        over_all(&mut page, comparisons);
    }
    for (number, comparison) in comparisons.iter().enumerate() {
        section(&mut page, number, comparison);
    }
    page.push_str("</main>\n</html>\n");
    page
}

fn contents(page: &mut String, comparisons: &[Comparison]) {
    page.push_str("<nav>");
    for (number, comparison) in comparisons.iter().enumerate() {
        let name = escape(&comparison.name);
        let _ = write!(page, "<a href=\"#s{number}\">{name}</a> ");
    }
    page.push_str("</nav>\n");
}

fn over_all(page: &mut String, comparisons: &[Comparison]) {
    let rows = overall(comparisons);
    if rows.is_empty() {
        return;
    }
    let count = comparisons.len();
    let _ = write!(page, "<h2>All {count}</h2>\n<div class=\"wide\"><table>\n");
    head(
        page,
        &[
            "strategy",
            "p99 / ideal, geometric mean",
            "worst",
            "in",
            "errors",
        ],
    );
    for row in rows {
        let cells = [
            format!("{:.3}", row.ratio_to_ideal),
            format!("{:.2}", row.worst),
            row.worst_in,
            percent(row.error_rate),
        ];
        row_of(page, &row.strategy, &cells);
    }
    page.push_str("</table></div>\n");
}

fn section(page: &mut String, number: usize, comparison: &Comparison) {
    let (name, about) = (escape(&comparison.name), escape(&comparison.about));
    let _ = writeln!(
        page,
        "<section id=\"s{number}\">\n<h2>{name}</h2>\n<p>{about}</p>"
    );
    for note in &comparison.notes {
        let _ = writeln!(page, "<p class=\"note\">{}</p>", escape(note));
    }
    results(page, comparison);
    let plots = [
        (
            "Latency: median, 90th, <b>99th</b> and 99.9th percentile",
            percentiles(comparison),
        ),
        ("99th percentile over time", tail_over_time(comparison)),
        (
            "Share of the requests of each backend",
            shares_over_time(comparison),
        ),
    ];
    for (index, (caption, svg)) in plots.into_iter().enumerate() {
        let _ = write!(page, "<figure>\n<figcaption>{caption}</figcaption>\n");
        match index {
            1 => strategies(page, comparison),
            2 => backends(page, comparison),
            _ => {}
        }
        let _ = writeln!(page, "{svg}</figure>");
    }
    page.push_str("</section>\n");
}

fn results(page: &mut String, comparison: &Comparison) {
    page.push_str("<div class=\"wide\"><table>\n");
    head(
        page,
        &[
            "strategy",
            "requests",
            "errors",
            "p50",
            "p90",
            "p99",
            "p99.9",
            "max",
            "mean",
            "p99 / ideal",
            "imbalance",
        ],
    );
    for run in &comparison.runs {
        row_of(page, &run.strategy, &cells(comparison, run));
    }
    page.push_str("</table></div>\n");
}

fn cells(comparison: &Comparison, run: &Run) -> [String; 10] {
    let ratio = comparison.ratio_to_ideal(run);
    [
        run.counts.requests.to_string(),
        errors(run),
        shown(run.latency(0.5)),
        shown(run.latency(0.9)),
        shown(run.latency(0.99)),
        shown(run.latency(0.999)),
        shown(run.max()),
        shown(run.mean()),
        ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}")),
        format!("{:.2}", run.imbalance(&comparison.backends)),
    ]
}

fn head(page: &mut String, names: &[&str]) {
    page.push_str("<tr>");
    for name in names {
        let _ = write!(page, "<th scope=\"col\">{name}");
    }
    page.push('\n');
}

fn row_of(page: &mut String, name: &str, cells: &[String]) {
    let class = if name == IDEAL {
        " class=\"bound\""
    } else {
        ""
    };
    let _ = write!(page, "<tr{class}><th scope=\"row\">{}", escape(name));
    for cell in cells {
        let _ = write!(page, "<td>{}", escape(cell));
    }
    page.push('\n');
}

fn strategies(page: &mut String, comparison: &Comparison) {
    page.push_str("<p class=\"key\">");
    let mut colour = 0;
    for run in &comparison.runs {
        let name = escape(&run.strategy);
        if run.strategy == IDEAL {
            let _ = write!(page, "<span class=\"ideal\">{name}</span> ");
            continue;
        }
        let _ = write!(page, "<span class=\"c{}\">{name}</span> ", colour % COLOURS);
        colour += 1;
    }
    page.push_str("</p>\n");
}

fn bands_beyond(comparison: &Comparison) -> usize {
    bands(comparison.backends.len())
        .count()
        .saturating_sub(COLOURS)
}

fn backends(page: &mut String, comparison: &Comparison) {
    page.push_str("<p class=\"key\">");
    let bands = bands(comparison.backends.len());
    for (index, band) in bands.take(COLOURS).enumerate() {
        let name = escape(&band_name(comparison, &band));
        let _ = write!(page, "<span class=\"c{index}\">{name}</span> ");
    }
    if bands_beyond(comparison) > 0 {
        page.push_str("the others in the same colours, upwards");
    }
    page.push_str("</p>\n");
}

/// A text as text, wherever it stands in the page.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // No other control character may stand in a page.
            c if c.is_control() && !matches!(c, '\n' | '\t') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::comparison;

    #[test]
    fn page_needs_nothing_from_elsewhere() {
        let page = html("both", &[comparison("one"), comparison("two")]);
        for needle in [
            "http:", "https:", "src=", "@import", "url(", "<script", "<link",
        ] {
            assert!(!page.contains(needle), "{needle}");
        }
        assert_eq!(page.matches("<svg").count(), 6);
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert!(page.contains("prefers-color-scheme: dark"));
        assert!(!page.contains("NaN") && !page.contains("inf"));
    }

    #[test]
    fn names_cannot_write_the_page() {
        let mut odd = comparison("<b>\"&\u{1}");
        odd.backends[0].name = "<script>".to_owned();
        odd.about = "</title><script>".to_owned();
        let page = html("<title>", &[odd]);
        assert!(!page.contains("<script>"));
        assert!(page.contains("&lt;b&gt;&quot;&amp;\u{fffd}"));
    }

    #[test]
    fn nothing_measured_is_no_fault() {
        let mut empty = comparison("empty");
        empty.runs.clear();
        let page = html("empty", &[empty]);
        assert!(!page.contains("NaN") && !page.contains("inf"));
    }
}
