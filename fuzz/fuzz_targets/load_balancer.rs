//! Any text as the balancer's configuration file, through the loader that the binary uses: faults, never a panic.
//!
//! The loader resolves the host names that it finds; run this where no name server is asked (`unshare -rn`).

#![no_main]

use lemonade_config::Environment;
use lemonade_load_balancer::config::{Overrides, load};
use libfuzzer_sys::fuzz_target;
use std::fs;

fuzz_target!(|text: &str| {
    for extension in ["yaml", "toml", "json"] {
        let file = std::env::temp_dir().join(format!("lemonade-fuzz-{}.{extension}", std::process::id()));
        fs::write(&file, text).expect("a writable temporary folder");
        match load(Some(&file), &Environment::default(), &Overrides::default()) {
            Ok(loaded) => {
                assert!(!loaded.config.backends.is_empty(), "a configuration that cannot run");
                assert!(loaded.config.backends.iter().all(|backend| backend.weight >= 1));
            }
            Err(faults) => assert!(!faults.to_string().is_empty()),
        }
    }
});
