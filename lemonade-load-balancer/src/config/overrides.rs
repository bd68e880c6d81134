//! What the environment and the command line say, over what the file says. Called by `validate` alone.
//!
//! A flag or variable has a name instead of a place, so its faults carry that.

use super::validate::Check;
use super::{AdminConfig, BackendConfig, Config, Secret, Source, Tier};
use crate::backend::BackendId;
use lemonade_config::{Address, Environment, Fault, ListenAddress};
use std::fmt::Display;
use std::net::{SocketAddr, ToSocketAddrs};

/// What the command line says; it wins over everything.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--listen`
    pub listen: Option<String>,
    /// `--strategy`
    pub strategy: Option<String>,
    /// `--backend`, any number of them
    pub backends: Vec<String>,
    /// `--admin`
    pub admin: Option<String>,
}

impl Check<'_> {
    pub(super) fn environment(&mut self, environment: &Environment, config: &mut Config) {
        let variable = |name: &str| {
            environment
                .get(name)
                .map(|value| (name.to_owned(), value.to_owned()))
        };
        if let Some((name, value)) = variable("LEMONADE_LB_LISTEN_ADDRESS") {
            self.set_listen(&name, &value, config);
        }
        if let Some((name, value)) = variable("LEMONADE_LB_STRATEGY") {
            self.set_strategy(&name, &value, config);
        }
        if let Some((name, value)) = variable("LEMONADE_LB_BACKEND_ADDRESSES") {
            let addresses = value
                .split(',')
                .map(str::trim)
                .filter(|address| !address.is_empty());
            self.set_backends(&name, addresses, &Source::Environment, config);
        }
        if let Some((name, value)) = variable("LEMONADE_LB_ADMIN_ADDRESS") {
            self.set_admin(&name, &value, config);
        }
        if let Some((name, value)) = variable("LEMONADE_ADMIN_TOKEN") {
            let token = Secret::new(value);
            if let Err(problem) = super::validate::check_token(&token) {
                self.elsewhere(&name, &problem);
            }
            if let Some(admin) = &mut config.admin {
                admin.token = Some(token);
            }
        }
    }

    pub(super) fn overrides(&mut self, overrides: &Overrides, config: &mut Config) {
        if let Some(listen) = &overrides.listen {
            self.set_listen("--listen", listen, config);
        }
        if let Some(strategy) = &overrides.strategy {
            self.set_strategy("--strategy", strategy, config);
        }
        if !overrides.backends.is_empty() {
            self.set_backends(
                "--backend",
                overrides.backends.iter().map(String::as_str),
                &Source::CommandLine,
                config,
            );
        }
        if let Some(admin) = &overrides.admin {
            self.set_admin("--admin", admin, config);
        }
    }

    /// A fault in a flag or variable, which has a name and no place.
    fn elsewhere(&mut self, name: &str, problem: &dyn Display) {
        self.faults.push(Fault::new(name, problem.to_string()));
    }

    fn set_listen(&mut self, name: &str, value: &str, config: &mut Config) {
        match value.parse::<ListenAddress>() {
            Ok(listen) => {
                config.listen = self
                    .listen_elsewhere(name, &listen)
                    .unwrap_or(config.listen)
            }
            Err(error) => self.elsewhere(name, &error),
        }
    }

    fn set_admin(&mut self, name: &str, value: &str, config: &mut Config) {
        if value == "off" {
            config.admin = None;
            return;
        }
        match value.parse::<ListenAddress>() {
            Ok(listen) => {
                if let Some(listen) = self.listen_elsewhere(name, &listen) {
                    config.admin.get_or_insert_with(AdminConfig::default).listen = listen;
                }
            }
            Err(error) => self.elsewhere(name, &error),
        }
    }

    fn listen_elsewhere(&mut self, name: &str, listen: &ListenAddress) -> Option<SocketAddr> {
        let found = (listen.host(), listen.port())
            .to_socket_addrs()
            .ok()
            .and_then(|mut found| found.next());
        if found.is_none() {
            self.elsewhere(name, &format!("`{}` does not resolve", listen.host()));
        }
        found
    }

    fn set_strategy(&mut self, name: &str, value: &str, config: &mut Config) {
        match value.parse() {
            Ok(strategy) => config.strategy = strategy,
            Err(error) => self.elsewhere(name, &error),
        }
    }

    fn set_backends<'a>(
        &mut self,
        name: &str,
        values: impl Iterator<Item = &'a str>,
        source: &Source,
        config: &mut Config,
    ) {
        config.backends.clear();
        for value in values {
            let address = match value.parse::<Address>() {
                Ok(address) => address,
                Err(error) => {
                    self.elsewhere(name, &error);
                    continue;
                }
            };
            let found = (address.host(), address.port())
                .to_socket_addrs()
                .ok()
                .and_then(|mut found| found.next());
            match found {
                Some(endpoint) => config.backends.push(BackendConfig {
                    name: address.to_string(),
                    id: BackendId::new(address),
                    endpoint,
                    weight: 1,
                    tier: Tier::default(),
                    max_in_flight: None,
                    source: source.clone(),
                    drained: false,
                }),
                None => self.elsewhere(
                    name,
                    &format!("backend `{}` does not resolve", address.host()),
                ),
            }
        }
    }
}
