//! Values that are read from several places: plugins also read from the conf what a typed edit
//! sets, so such a value has one owner, whichever way it was set.

use std::borrow::Cow;

use super::difference::Path;

/// The way in which a value was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Facet {
    /// In the conf of a plugin.
    Conf,
    /// In the cni-args, which the daemon merges into the conf of each plugin.
    Args,
    /// By a typed edit, as the others below.
    Ips,
    Mac,
    Guid,
    Bandwidth,
}

impl Facet {
    /// Whether it sets whole trees, which may or may not contain a value.
    pub(super) fn is_tree(self) -> bool {
        matches!(self, Self::Conf | Self::Args)
    }

    /// Where plugins read the value in their conf (CNI conventions, and the reference plugins).
    fn places(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Conf | Self::Args => &[],
            Self::Ips => &[&["args", "cni", "ips"], &["ipam", "addresses"]],
            Self::Mac => &[&["mac"], &["args", "cni", "mac"]],
            Self::Guid => &[
                &["guid"],
                &["infinibandguid"],
                &["args", "cni", "guid"],
                &["args", "cni", "infinibandguid"],
            ],
            Self::Bandwidth => &[
                &["ingressrate"],
                &["ingressburst"],
                &["egressrate"],
                &["egressburst"],
            ],
        }
    }
}

/// A place from which plugins read a value, and the facet that sets it.
#[derive(Debug, Clone)]
pub(crate) struct Twin<'a> {
    pub(super) facet: Facet,
    pub(super) path: Vec<Cow<'a, str>>,
}

/// The first tokens of all places.
const HEADS: [&str; 9] = [
    "args",
    "ipam",
    "mac",
    "guid",
    "infinibandguid",
    "ingressrate",
    "ingressburst",
    "egressrate",
    "egressburst",
];

/// The twins of a path of an attachment.
pub(super) fn of_attachment<'a>(path: &Path<'a>) -> Vec<Twin<'a>> {
    match path {
        [top, rest @ ..] if *top == "conf" => in_conf(rest).into_iter().collect(),
        [top, rest @ ..] if *top == "cniArgs" => vec![in_args(None, rest)],
        [top, member, ..] if *top == "runtimeConfig" => typed(None, member),
        _ => Vec::new(),
    }
}

/// The twins of a path of the selections; each selection has its own.
pub(super) fn of_selection<'a>(path: &Path<'a>) -> Vec<Twin<'a>> {
    match path {
        [id, member, rest @ ..] if *member == "cni-args" => vec![in_args(Some(id), rest)],
        [id, member, ..] => typed(Some(id), member),
        _ => Vec::new(),
    }
}

fn in_conf<'a>(path: &Path<'a>) -> Option<Twin<'a>> {
    let of_plugin = match path {
        [list, _, rest @ ..] if *list == "plugins" => rest,
        rest => rest,
    };
    let touches = of_plugin
        .first()
        .is_none_or(|head| HEADS.contains(&&**head));
    touches.then(|| Twin {
        facet: Facet::Conf,
        path: of_plugin.to_vec(),
    })
}

fn in_args<'a>(id: Option<&Cow<'a, str>>, path: &Path<'a>) -> Twin<'a> {
    let place = ["args", "cni"].map(Cow::Borrowed);
    Twin {
        facet: Facet::Args,
        path: id.into_iter().chain(&place).chain(path).cloned().collect(),
    }
}

fn typed<'a>(id: Option<&Cow<'a, str>>, member: &str) -> Vec<Twin<'a>> {
    let facet = match member {
        "ips" => Facet::Ips,
        "mac" => Facet::Mac,
        "infinibandGUID" | "infiniband-guid" => Facet::Guid,
        "bandwidth" => Facet::Bandwidth,
        _ => return Vec::new(),
    };
    let twin = |place: &&'static [&'static str]| {
        let place = place.iter().map(|token| Cow::Borrowed(*token));
        Twin {
            facet,
            path: id.cloned().into_iter().chain(place).collect(),
        }
    };
    facet.places().iter().map(twin).collect()
}
