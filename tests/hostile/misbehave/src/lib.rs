//! Misbehaves as its settings say. The host's tests `match` exhaustively on [`Behaviour`], so a new
//! variant without a test does not compile.
#![expect(clippy::panic, reason = "to panic is what this guest is for")]

use cnidaria_guest::prelude::*;
use serde::{Deserialize, Serialize};

/// What the guest does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Behaviour {
    /// Never returns.
    Spin,
    /// Never returns, calling the host all the time.
    SpinInHost,
    /// Allocates until memory runs out.
    Grow,
    /// Recurses until the stack overflows.
    Recurse,
    /// Executes an instruction that traps.
    Trap,
    /// Panics with a message.
    Panic,
    /// Passes the host a string of many megabytes.
    HugeArgument,
    /// Returns a denial of many megabytes.
    HugeAnswer,
    /// Logs lines without end.
    FloodLog,
    /// Reports findings without end.
    FloodFindings,
    /// Reports a finding with more fields than the host takes in one call.
    FloodFields,
    /// Reports a finding with many long fields.
    LongFields,
    /// Uses a handle of an attachment that it kept from an earlier hook.
    KeepHandle,
    /// Edits the other attachments of the plan, then accepts.
    EditOthers,
    /// Keeps editing after the host's limit was reached.
    FloodEdits,
    /// Makes one oversized edit.
    HugeEdit,
    /// Tries every forbidden edit, then accepts.
    EditForbidden,
    /// Edits, then denies.
    EditThenDeny,
    /// Edits, then traps.
    EditThenTrap,
    /// Edits, then spins.
    EditThenSpin,
    /// Denies with a code below 100 and control characters in the message.
    CrookedDenial,
    /// Remembers the requests it has seen, and denies the second.
    Remember,
    /// Rejects its settings with a reason of many megabytes.
    RefuseHugely,
    /// Accepts everything.
    Accept,
}

/// Where the guest misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// When it is configured.
    Configure,
    /// In before-add.
    #[default]
    BeforeAdd,
    /// In status.
    Status,
    /// In del.
    Del,
}

impl Behaviour {
    /// All behaviours.
    pub const ALL: [Self; 24] = [
        Self::Spin,
        Self::SpinInHost,
        Self::Grow,
        Self::Recurse,
        Self::Trap,
        Self::Panic,
        Self::HugeArgument,
        Self::HugeAnswer,
        Self::FloodLog,
        Self::FloodFindings,
        Self::FloodFields,
        Self::LongFields,
        Self::KeepHandle,
        Self::EditOthers,
        Self::FloodEdits,
        Self::HugeEdit,
        Self::EditForbidden,
        Self::EditThenDeny,
        Self::EditThenTrap,
        Self::EditThenSpin,
        Self::CrookedDenial,
        Self::Remember,
        Self::RefuseHugely,
        Self::Accept,
    ];
}

/// The settings as JSON.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How to misbehave.
    #[serde(rename = "do")]
    pub behaviour: Behaviour,
    /// Where; behaviours that need an attachment happen only in before-add.
    #[serde(default)]
    pub at: Place,
}

/// A policy that misbehaves.
#[derive(Debug)]
pub struct Misbehave {
    settings: Settings,
    seen: std::cell::Cell<u32>,
    kept: std::cell::RefCell<Option<Attachment>>,
}

impl Policy for Misbehave {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, String> {
        if settings.at == Place::Configure {
            anywhere(settings.behaviour)?;
        }
        Ok(Self {
            settings,
            seen: std::cell::Cell::new(0),
            kept: std::cell::RefCell::default(),
        })
    }
}

impl BeforeAdd for Misbehave {
    fn before_add(&self, request: &Request, attachment: &Attachment, plan: &Plan) -> Verdict {
        if self.settings.at != Place::BeforeAdd {
            return Ok(());
        }
        match self.settings.behaviour {
            Behaviour::SpinInHost => loop {
                std::hint::black_box(attachment.conf());
            },
            Behaviour::HugeArgument => {
                attachment.set_if_name(&"x".repeat(8 << 20))?;
            }
            Behaviour::HugeAnswer => return Err(Denial::new(200, "x".repeat(8 << 20))),
            Behaviour::FloodFindings => {
                for number in 0..10_000 {
                    request.report(&Finding::warning("flood", format!("finding {number}")));
                }
            }
            Behaviour::FloodFields => request.report(&with_fields(50_000, "x")),
            Behaviour::LongFields => request.report(&with_fields(20, &"\n".repeat(4096))),
            Behaviour::KeepHandle => {
                if let Some(kept) = self.kept.replace(plan.at(0)) {
                    info!("{}", kept.network());
                }
            }
            Behaviour::EditOthers => edit_others(attachment, plan)?,
            Behaviour::FloodEdits => flood_edits(attachment)?,
            Behaviour::HugeEdit => {
                let error = attachment.conf_set("/args", &format!("{:?}", "x".repeat(100 << 10)));
                attachment.set_cni_arg("error", &format!("{:?}", format!("{error:?}")))?;
            }
            Behaviour::EditForbidden => edit_forbidden(attachment)?,
            Behaviour::EditThenDeny => {
                attachment.set_mtu(1400)?;
                return Err(Denial::new(201, "after an edit"));
            }
            Behaviour::EditThenTrap => {
                attachment.set_mtu(1400)?;
                trap();
            }
            Behaviour::EditThenSpin => {
                attachment.set_mtu(1400)?;
                spin();
            }
            Behaviour::CrookedDenial => {
                return Err(Denial::new(3, "line one\nline two \u{1b}[31m").with_details("a\nb"));
            }
            Behaviour::Remember => {
                self.seen.set(self.seen.get() + 1);
                if self.seen.get() > 1 {
                    return Err(Denial::new(202, format!("seen {}", self.seen.get())));
                }
            }
            behaviour => anywhere(behaviour).map_err(|reason| Denial::new(205, reason))?,
        }
        Ok(())
    }
}

impl Status for Misbehave {
    fn status(&self) -> Result<(), String> {
        match self.settings.at {
            Place::Status => anywhere(self.settings.behaviour),
            _ => Ok(()),
        }
    }
}

impl Del for Misbehave {
    fn del(&self, _: &Request, _: &Attachment, _: &Outcome) -> Vec<Finding> {
        if self.settings.at == Place::Del
            && let Err(reason) = anywhere(self.settings.behaviour)
        {
            return vec![Finding::warning("refused", reason)];
        }
        Vec::new()
    }
}

/// Performs the behaviours that need no request.
fn anywhere(behaviour: Behaviour) -> Result<(), String> {
    match behaviour {
        Behaviour::Spin => spin(),
        Behaviour::Grow => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(std::hint::black_box(vec![1_u8; 1 << 20]));
            }
        }
        Behaviour::Recurse => {
            std::hint::black_box(recurse(1));
        }
        Behaviour::Trap => trap(),
        Behaviour::Panic => panic!("the sky is falling"),
        Behaviour::FloodLog => {
            for line in 0..10_000 {
                warn!("line {line}\nand a forged one");
            }
        }
        Behaviour::RefuseHugely => return Err("x".repeat(8 << 20)),
        _ => {}
    }
    Ok(())
}

/// Never returns; must not be optimised away.
fn spin() -> ! {
    loop {
        std::hint::black_box(());
    }
}

#[cfg(target_family = "wasm")]
fn trap() -> ! {
    core::arch::wasm32::unreachable()
}

#[cfg(not(target_family = "wasm"))]
fn trap() -> ! {
    std::process::abort()
}

/// Uses the engine's stack, not the one in linear memory, and is not compiled to a loop.
#[expect(unconditional_recursion, reason = "until the stack ends")]
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    (recurse(depth + 1) ^ depth).rotate_left(7)
}

/// A finding with this many fields of a value.
fn with_fields(count: u32, value: &str) -> Finding {
    (0..count).fold(Finding::warning("fields", "many"), |finding, number| {
        finding.with(format!("field-{number}"), value)
    })
}

/// Tries to edit what other hooks of the plan edit.
fn edit_others(attachment: &Attachment, plan: &Plan) -> Verdict {
    let own = attachment.if_name();
    let others = plan.iter().filter(|other| other.if_name() != own);
    for other in others {
        for refused in [other.set_mtu(1400), other.skip()] {
            match refused {
                Ok(()) => return Err(Denial::new(204, "the edit of another was allowed")),
                Err(error) => info!("{error:?}"),
            }
        }
    }
    match (plan.at(u32::MAX).is_some(), plan.status(0).is_some()) {
        (false, false) => Ok(()),
        there => Err(Denial::new(204, format!("{there:?}"))),
    }
}

/// Edits until the host refuses; denies with the number of accepted edits.
fn flood_edits(attachment: &Attachment) -> Verdict {
    let mut refusal = None;
    let mut edits = 0_u32;
    for number in 0..10_000_u32 {
        match attachment.set_cni_arg("number", &number.to_string()) {
            Ok(()) => edits += 1,
            Err(error) => {
                refusal = Some(error);
                break;
            }
        }
    }
    Err(Denial::new(203, format!("{edits} edits, then {refusal:?}")))
}

/// Tries every forbidden edit and reports the host's answer to each.
fn edit_forbidden(attachment: &Attachment) -> Verdict {
    let tries = [
        ("name", attachment.conf_set("/name", "\"other\"")),
        (
            "cniVersion",
            attachment.conf_set("/cniVersion", "\"0.1.0\""),
        ),
        ("type", attachment.conf_set("/type", "\"evil\"")),
        ("Type", attachment.conf_set("/Type", "\"evil\"")),
        ("ipam.type", attachment.conf_set("/ipam/type", "\"evil\"")),
        ("ipam", attachment.conf_remove("/ipam")),
        ("prevResult", attachment.conf_set("/prevResult", "{}")),
        ("runtimeConfig", attachment.conf_set("/runtimeConfig", "{}")),
        (
            "plugins",
            attachment.conf_set("/plugins", "[{\"type\":\"evil\"}]"),
        ),
        ("append", attachment.append_plugin("{\"type\":\"evil\"}")),
        ("bad mtu", attachment.conf_set("/mtu", "\"big\"")),
        ("everything", attachment.conf_set("", "{}")),
        ("no JSON", attachment.conf_set("/x", "{")),
        ("no place", attachment.conf_set("/x/y", "1")),
        ("no pointer", attachment.conf_set("x", "1")),
        ("interface", attachment.set_if_name("../../etc")),
        ("address", attachment.set_ips(&["10.0.0.1/33".to_owned()])),
        ("mac", attachment.set_mac(Some("ff:ff:ff:ff:ff:ff"))),
        ("mtu", attachment.set_mtu(7)),
    ];
    for (what, answer) in tries {
        match answer {
            Ok(()) => return Err(Denial::new(204, format!("{what} was allowed"))),
            Err(error) => info!("{what}: {error:?}"),
        }
    }
    Ok(())
}

cnidaria_guest::export!(Misbehave: before_add, status, del);
