//! The files, and what each is.

/// One file.
#[derive(Debug)]
pub(super) struct Asset {
    /// Where it is served.
    pub(super) path: &'static str,
    /// Its media type.
    pub(super) kind: &'static str,
    /// All of it.
    pub(super) text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

const fn script(path: &'static str, text: &'static str) -> Asset {
    Asset {
        path,
        kind: SCRIPT,
        text,
    }
}

const fn style(path: &'static str, text: &'static str) -> Asset {
    Asset {
        path,
        kind: STYLE,
        text,
    }
}

/// Every file, the page first.
pub(super) static ALL: [Asset; 30] = [
    Asset {
        path: "/",
        kind: HTML,
        text: include_str!("index.html"),
    },
    style(
        "/dashboard/uplot.css",
        include_str!("vendor/uplot/uplot.css"),
    ),
    style("/dashboard/style.css", include_str!("style.css")),
    script("/dashboard/uplot.js", include_str!("vendor/uplot/uplot.js")),
    script("/dashboard/api.js", include_str!("js/api.js")),
    script("/dashboard/charts.js", include_str!("js/charts.js")),
    script("/dashboard/columns.js", include_str!("js/columns.js")),
    script("/dashboard/config.js", include_str!("js/config.js")),
    script("/dashboard/controls.js", include_str!("js/controls.js")),
    script("/dashboard/decisions.js", include_str!("js/decisions.js")),
    script("/dashboard/dialog.js", include_str!("js/dialog.js")),
    script("/dashboard/dom.js", include_str!("js/dom.js")),
    script("/dashboard/events.js", include_str!("js/events.js")),
    script("/dashboard/forecast.js", include_str!("js/forecast.js")),
    script("/dashboard/format.js", include_str!("js/format.js")),
    script("/dashboard/keys.js", include_str!("js/keys.js")),
    script("/dashboard/live.js", include_str!("js/live.js")),
    script("/dashboard/main.js", include_str!("js/main.js")),
    script("/dashboard/model.js", include_str!("js/model.js")),
    script("/dashboard/offline.js", include_str!("js/offline.js")),
    script("/dashboard/picks.js", include_str!("js/picks.js")),
    script("/dashboard/scrubber.js", include_str!("js/scrubber.js")),
    script("/dashboard/sparkline.js", include_str!("js/sparkline.js")),
    script("/dashboard/sse.js", include_str!("js/sse.js")),
    script("/dashboard/states.js", include_str!("js/states.js")),
    script("/dashboard/summary.js", include_str!("js/summary.js")),
    script("/dashboard/table.js", include_str!("js/table.js")),
    script("/dashboard/theme.js", include_str!("js/theme.js")),
    script("/dashboard/token.js", include_str!("js/token.js")),
    script("/dashboard/verdict.js", include_str!("js/verdict.js")),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn every_module_of_the_folder_is_served() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/dashboard/js");
        for entry in fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let path = format!("/dashboard/{name}");
            assert!(ALL.iter().any(|asset| asset.path == path), "{name}");
        }
    }

    #[test]
    fn no_module_writes_markup_or_style_that_the_policy_forbids() {
        let own = ALL.iter().filter(|asset| !asset.path.contains("uplot"));
        for asset in own {
            for forbidden in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "style=\"",
                "onclick",
            ] {
                assert!(
                    !asset.text.contains(forbidden),
                    "{}: {forbidden}",
                    asset.path
                );
            }
        }
    }
}
