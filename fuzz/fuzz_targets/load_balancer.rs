//! Any text as the balancer's configuration, through every check: faults, never a panic; and what is accepted can be written
//! down and read back to the same.
//!
//! The checks resolve the host names that they find; run this where no name server is asked (`unshare -rn`).

#![no_main]

use lemonade_config::{Document, Environment, Format};
use lemonade_load_balancer::config::{Config, Overlay, Overrides, check, view};
use libfuzzer_sys::fuzz_target;

fn read(format: Format, text: &str) -> Option<Config> {
    let nothing = Environment::default();
    let document = Document::parse("fuzz", format, text, &nothing).ok()?;
    // The same text as a file of changes by hand.
    let _ = Overlay::read(&document);
    let _ = document.to_json();
    match check(&document, &nothing, &Overrides::default()) {
        Ok(loaded) => Some(loaded.config),
        Err(faults) => {
            assert!(!faults.to_string().is_empty());
            None
        }
    }
}

fuzz_target!(|text: &str| {
    for format in [Format::Yaml, Format::Toml, Format::Json] {
        let Some(mut config) = read(format, text) else { continue };
        assert!(!config.backends.is_empty() || !config.discovery.is_empty(), "a configuration that cannot run");
        // Secrets are not shown, shares are rounded, and a range's unused bits are nobody's.
        config.discovery.sql = None;
        config.headers.trusted_proxies.clear();
        config.access_log.sample = 0.0;
        if config.backends.is_empty() && config.discovery.is_empty() {
            continue;
        }
        let token = config.admin.as_mut().and_then(|admin| admin.token.take());
        if token.is_some() && config.admin.as_ref().is_some_and(|admin| !admin.listen.ip().is_loopback()) {
            continue;
        }
        let again = read(Format::Json, &view(&config).to_string()).expect("what is shown can be read");
        assert_eq!(view(&again), view(&config));
    }
});
