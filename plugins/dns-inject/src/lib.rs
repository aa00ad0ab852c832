//! Adds nameservers, search domains and resolver options to the results of attachments.
//!
//! README.md of this crate describes the settings.

use cnidaria_guest::prelude::*;
use serde::Deserialize;

/// The JSON settings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Nameserver addresses.
    nameservers: Vec<String>,
    /// Search domains.
    search: Vec<String>,
    /// Resolver options.
    options: Vec<String>,
    /// Networks by `namespace/name` or name; if empty, only the default network.
    networks: Vec<String>,
    /// Position of the additions.
    position: Position,
}

/// Position of the additions relative to the delegate's values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Position {
    /// Before the delegate's, so queried first.
    First,
    /// After the delegate's.
    #[default]
    Last,
}

#[derive(Debug)]
pub struct DnsInject {
    settings: Settings,
}

impl Policy for DnsInject {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, String> {
        let Settings {
            nameservers,
            search,
            options,
            ..
        } = &settings;
        if nameservers.is_empty() && search.is_empty() && options.is_empty() {
            return Err("settings: none of nameservers, search and options is given".to_owned());
        }
        for server in nameservers {
            let parsed: Result<std::net::IpAddr, _> = server.parse();
            parsed
                .map_err(|_| format!("settings: nameservers: {server:?} is not an IP address"))?;
        }
        for (key, words) in [("search", search), ("options", options)] {
            if let Some(bad) = words
                .iter()
                .find(|word| word.is_empty() || word.contains(char::is_whitespace))
            {
                return Err(format!("settings: {key}: {bad:?} is empty or has blanks"));
            }
        }
        Ok(Self { settings })
    }
}

impl AfterAdd for DnsInject {
    fn after_add(&self, _request: &Request, attachment: &Attachment, outcome: &Outcome) -> Verdict {
        if !self.concerns(attachment) {
            return Ok(());
        }
        let before = outcome.dns();
        let mut dns = before.clone();
        self.add(&mut dns.nameservers, &self.settings.nameservers);
        self.add(&mut dns.search, &self.settings.search);
        self.add(&mut dns.options, &self.settings.options);
        if dns != before {
            outcome.set_dns(&dns)?;
        }
        Ok(())
    }
}

impl DnsInject {
    fn concerns(&self, attachment: &Attachment) -> bool {
        if self.settings.networks.is_empty() {
            return attachment.is_default();
        }
        let network = attachment.network();
        let name = network.rsplit('/').next().unwrap_or(&network);
        self.settings
            .networks
            .iter()
            .any(|wanted| *wanted == network || wanted == name)
    }

    /// Adds missing entries only: a second policy or the delegate may add the same.
    fn add(&self, list: &mut Vec<String>, additions: &[String]) {
        let mut fresh: Vec<String> = Vec::new();
        for addition in additions {
            if !list.contains(addition) && !fresh.contains(addition) {
                fresh.push(addition.clone());
            }
        }
        match self.settings.position {
            Position::First => {
                list.splice(0..0, fresh);
            }
            Position::Last => list.extend(fresh),
        }
    }
}

cnidaria_guest::export!(DnsInject: after_add);
