//! The actions of a test.

use serde::Deserialize;

/// One action. An edit that the host rejects denies the request, unless it is in [`Action::Try`].
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// Performs an action, reporting a rejection as a finding.
    Try(Box<Action>),
    /// Denies with a code and a message.
    Deny(u32, String),
    /// Reports a warning with a code and a message.
    Report(String, String),
    /// Logs a line.
    Log(String),
    /// Panics.
    Panic(String),
    /// Reports what the hook sees, as findings.
    Describe,
    /// Increments a state counter under this key, bound to the hook's object.
    Count(String),

    /// Selections: inserts a network of namespace `default` at an index.
    Insert(u32, String),
    /// Selections: removes one.
    Remove(u32),
    /// Selections: moves one.
    Move(u32, u32),
    /// Selections: sets the addresses of one.
    SelectIps(u32, Vec<String>),
    /// Selections: sets the interface of one.
    SelectInterface(u32, String),
    /// Selections: makes one the default route, through a gateway.
    SelectDefault(u32, String),
    /// Selections: sets the default network to one of a namespace.
    SetDefault(String, String),
    /// Selections: goes back to the cluster's default network.
    ClusterDefault,

    /// Attachment: sets the MTU.
    SetMtu(u32),
    /// Attachment: sets JSON at a pointer.
    ConfSet(String, String),
    /// Attachment: removes the value at a pointer.
    ConfRemove(String),
    /// Attachment: renames the interface.
    SetIfName(String),
    /// Attachment: sets addresses.
    SetIps(Vec<String>),
    /// Attachment: sets the MAC.
    SetMac(String),
    /// Attachment: sets the GUID.
    SetGuid(String),
    /// Attachment: sets rate and burst of both directions.
    SetBandwidth(u64, u64),
    /// Attachment: maps a port of the node to one of the pod.
    SetPort(u16, u16),
    /// Attachment: sets a CNI arg to JSON.
    SetArg(String, String),
    /// Attachment: appends a plugin.
    Append(String),
    /// Attachment: leaves the network out.
    Skip,
    /// Plan: performs an action on the attachment with this index.
    On(u32, Box<Action>),
    /// Reports an action's refusal with all its fields.
    Refused(Box<Action>),

    /// Result: adds a nameserver.
    AddNameserver(String),
    /// Result: replaces the nameservers.
    SetNameservers(Vec<String>),
    /// Result: sets addresses, without interface or gateway.
    ResultIps(Vec<String>),
    /// Result: sets the routes' destinations.
    ResultRoutes(Vec<String>),
    /// Result: adds a route to a destination through a gateway.
    AddRoute(String, String),
    /// Result: removes all interfaces.
    NoInterfaces,
    /// Result: sets a tag.
    Tag(String, String),
    /// Network-status: performs an action on the element of the attachment with this index.
    Status(u32, Box<Action>),
}
