//! `lemonade db`: the database that backends may come from.

use super::{Failure, runtime, text};
use crate::cli::{self, DbAction};
use lemonade_config::Environment;
use lemonade_load_balancer::config::{Secret, without_password};
use lemonade_load_balancer::discovery;

pub(crate) fn run(options: cli::Db) -> Result<(), Failure> {
    let DbAction::Migrate { url } = options.action;
    let environment = Environment::from_process()?;
    let url = url.or_else(|| environment.get("DATABASE_URL").map(str::to_owned));
    let Some(url) = url else {
        return Err(Failure::Usage(
            "which database? Give `--url URL`, or set DATABASE_URL (a .env will do)".to_owned(),
        ));
    };
    let shown = without_password(&url);
    let applied = runtime()?.block_on(discovery::migrate(&Secret::new(url)));
    let applied = applied.map_err(|error| Failure::Failed(error.to_string()))?;
    match applied.is_empty() {
        true => text::print(&format!("{shown}: up to date\n")),
        false => text::print(&format!("{shown}: applied {}\n", applied.join(", "))),
    }
}
