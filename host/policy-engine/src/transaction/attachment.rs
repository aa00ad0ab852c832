//! The draft of one attachment before its delegate runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::conf::{self, Appended, ConfEdit};
use super::given;
use super::protected;
use super::{EditError, validate};
use crate::model::grant::ConfGrant;
use crate::model::request::{Bandwidth, PolicyAttachment, PortMapping};
use cni_types::json::{Node, Pointer};

/// Key of the cni-args in patches and claims.
pub(super) const ARGS: &str = "cniArgs";

/// The cni-args that mean an InfiniBand GUID, with folded names.
const GUID: [&str; 3] = ["guid", "infinibandguid", "infiniband-guid"];

/// Interface names of the request's other attachments, each with its network.
pub(crate) type Reserved = Arc<BTreeMap<String, String>>;

/// An attachment being edited.
#[derive(Debug, Clone)]
pub(crate) struct AttachmentDraft {
    pub(super) attachment: PolicyAttachment,
    reserved: Reserved,
    /// The conf was a single plugin. Claims name its members as before, without `/plugins/0`.
    pub(super) is_chained: bool,
}

/// One edit of an attachment.
#[derive(Debug)]
pub(crate) enum AttachmentChange {
    /// Sets or removes values of the conf.
    Conf(Vec<ConfEdit>),
    /// Several edits, made together: those of the conf come first.
    All(Vec<AttachmentChange>),
    /// Makes a chain of a single plugin and this one.
    Chain(Node),
    /// Sets one of the cni-args.
    Arg(String, Node),
    IfName(String),
    Ips(Vec<String>),
    Mac(Option<String>),
    Guid(Option<String>),
    Bandwidth(Option<Bandwidth>),
    PortMappings(Vec<PortMapping>),
    /// Leaves the network out.
    Skip,
}

/// A part of an attachment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Area {
    /// The value at a pointer into the conf.
    Conf(Pointer),
    Args,
    Member(Member),
}

/// A member of an attachment that is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Member {
    IfName,
    Ips,
    Mac,
    Guid,
    Bandwidth,
    PortMappings,
    Skipped,
}

impl AttachmentDraft {
    /// Starts from `attachment`, with its addresses canonicalised.
    pub(crate) fn new(attachment: PolicyAttachment, reserved: Reserved) -> Self {
        Self {
            attachment: canonical(attachment),
            reserved,
            is_chained: false,
        }
    }

    /// Interface names of the request's other attachments.
    pub(crate) fn reserved(&self) -> &BTreeMap<String, String> {
        &self.reserved
    }

    /// The attachment as edited so far.
    pub(crate) fn attachment(&self) -> &PolicyAttachment {
        &self.attachment
    }

    /// The edited attachment.
    pub(crate) fn into_attachment(self) -> PolicyAttachment {
        self.attachment
    }

    pub(crate) fn conf_set(
        &self,
        pointer: &str,
        json: &str,
        grant: &ConfGrant,
    ) -> Result<AttachmentChange, EditError> {
        let conf = &self.attachment.conf;
        let (pointer, value) = (conf::pointer(pointer)?, conf::value(json, conf.limits())?);
        Ok(AttachmentChange::Conf(vec![conf::set(
            conf, pointer, value, grant,
        )?]))
    }

    pub(crate) fn conf_remove(
        &self,
        pointer: &str,
        grant: &ConfGrant,
    ) -> Result<AttachmentChange, EditError> {
        let (conf, pointer) = (&self.attachment.conf, conf::pointer(pointer)?);
        Ok(AttachmentChange::Conf(vec![conf::remove(
            conf, pointer, grant,
        )?]))
    }

    /// Like [`conf_set`](Self::conf_set), and checks at once what the final plan has to satisfy.
    pub(crate) fn conf_set_checked(
        &self,
        pointer: &str,
        json: &str,
        grant: &ConfGrant,
    ) -> Result<AttachmentChange, EditError> {
        let change = self.conf_set(pointer, json, grant)?;
        conf::is_read(&self.attachment.conf, &conf::pointer(pointer)?)?;
        if let AttachmentChange::Conf(edits) = &change {
            for ConfEdit { pointer, value } in edits {
                let mtus = value.iter().flat_map(|value| conf::mtus_at(pointer, value));
                self.check_mtus(mtus, &self.attachment.ips)?;
            }
        }
        Ok(change)
    }

    pub(crate) fn append_plugin(
        &self,
        json: &str,
        grant: &ConfGrant,
    ) -> Result<AttachmentChange, EditError> {
        let conf = &self.attachment.conf;
        let plugin = conf::value(json, conf.limits())?;
        let appended = conf::append(conf, plugin, grant)?;
        let (place, value) = match &appended {
            Appended::Chain(ConfEdit { pointer, value }) => (pointer.clone(), value.as_ref()),
            Appended::Single(plugin) => (Pointer::root().child("plugins").child("1"), Some(plugin)),
        };
        let mtus = value.into_iter();
        let mtus = mtus.flat_map(|value| conf::mtus_at(&place, value));
        self.check_mtus(mtus, &self.attachment.ips)?;
        Ok(match appended {
            Appended::Chain(edit) => AttachmentChange::Conf(vec![edit]),
            Appended::Single(plugin) => AttachmentChange::Chain(plugin),
        })
    }

    pub(crate) fn skip(&self) -> Result<AttachmentChange, EditError> {
        match self.attachment.is_default {
            true => Err(EditError::Immutable("the default network".to_owned())),
            false => Ok(AttachmentChange::Skip),
        }
    }

    /// Checks that a plugin takes a capability, without which setting it has no effect.
    pub(crate) fn takes(&self, capability: &str) -> Result<(), EditError> {
        match conf::capabilities(&self.attachment.conf).contains(capability) {
            true => Ok(()),
            false => Err(validate::invalid(format!(
                "no plugin of the chain declares the capability {capability:?}, so the edit would have no effect"
            ))),
        }
    }

    fn check_mtus<'n>(
        &self,
        mtus: impl IntoIterator<Item = (String, &'n Node)>,
        ips: &[String],
    ) -> Result<(), EditError> {
        mtus.into_iter().try_for_each(|(pointer, value)| {
            validate::plugin_mtu(value, ips)
                .map_err(|error| validate::invalid(format!("{pointer}: {error}")))
        })
    }

    pub(crate) fn set_mtu(&self, mtu: u32) -> Result<AttachmentChange, EditError> {
        validate::mtu(mtu, &self.attachment.ips)?;
        Ok(AttachmentChange::Conf(conf::set_mtu(
            &self.attachment.conf,
            mtu,
        )?))
    }

    pub(crate) fn set_if_name(&self, name: &str) -> Result<AttachmentChange, EditError> {
        let change = AttachmentChange::IfName(name.to_owned());
        if name == self.attachment.if_name {
            return Ok(change);
        }
        if self.attachment.is_default {
            return Err(EditError::Immutable(
                "the interface of the default network".to_owned(),
            ));
        }
        validate::if_name(name)?;
        if let Some(network) = self.reserved.get(name) {
            return Err(validate::invalid(format!(
                "interface {name:?} is that of network {network:?}"
            )));
        }
        Ok(change)
    }

    pub(crate) fn set_ips(&self, ips: &[String]) -> Result<AttachmentChange, EditError> {
        let change = AttachmentChange::Ips(validate::ips(ips)?);
        Ok(self.instead_of_args(&["ips"], change))
    }

    /// Like [`set_ips`](Self::set_ips), and checks at once what the final plan has to satisfy.
    pub(crate) fn set_ips_checked(&self, ips: &[String]) -> Result<AttachmentChange, EditError> {
        if ips.len() > 1 {
            self.takes("ips")?;
        }
        let change = self.set_ips(ips)?;
        let mtus = conf::mtus(self.attachment.conf.root());
        // One that is wrong without addresses, too, is not this edit's fault.
        let sound = mtus
            .into_iter()
            .filter(|(_, value)| validate::plugin_mtu(value, &[]).is_ok());
        self.check_mtus(sound, &validate::ips(ips)?)?;
        Ok(change)
    }

    /// A typed edit, and the removal of what `args.cni` says of the same value: plugins take one of
    /// both, or both.
    fn instead_of_args(&self, keys: &[&str], change: AttachmentChange) -> AttachmentChange {
        let edits = given::without_args(&self.attachment.conf, keys);
        match edits.is_empty() {
            true => change,
            false => AttachmentChange::All(vec![AttachmentChange::Conf(edits), change]),
        }
    }

    pub(crate) fn set_mac(&self, mac: Option<&str>) -> Result<AttachmentChange, EditError> {
        let change = AttachmentChange::Mac(mac.map(validate::mac).transpose()?);
        Ok(self.instead_of_args(&["mac"], change))
    }

    pub(crate) fn set_infiniband_guid(
        &self,
        guid: Option<&str>,
    ) -> Result<AttachmentChange, EditError> {
        let change = AttachmentChange::Guid(guid.map(validate::guid).transpose()?);
        Ok(self.instead_of_args(&GUID, change))
    }

    pub(crate) fn set_bandwidth(
        &self,
        bandwidth: Option<Bandwidth>,
    ) -> Result<AttachmentChange, EditError> {
        if let Some(bandwidth) = &bandwidth {
            validate::bandwidth(bandwidth)?;
        }
        Ok(AttachmentChange::Bandwidth(bandwidth))
    }

    pub(crate) fn set_port_mappings(
        &self,
        mappings: &[PortMapping],
    ) -> Result<AttachmentChange, EditError> {
        Ok(AttachmentChange::PortMappings(validate::port_mappings(
            mappings,
        )?))
    }

    pub(crate) fn set_cni_arg(&self, key: &str, json: &str) -> Result<AttachmentChange, EditError> {
        validate::word("key of cni-args", key, 253)?;
        let value = conf::value(json, validate::JSON_LIMITS)?;
        protected::check_arg(key, &value, ARGS)?;
        given::is_read(&self.attachment, key)?;
        Ok(AttachmentChange::Arg(key.to_owned(), value))
    }
}

/// Canonicalises well-formed values; leaves the rest as the daemon passed it.
fn canonical(mut attachment: PolicyAttachment) -> PolicyAttachment {
    for ip in &mut attachment.ips {
        if let Some(canonical) = validate::canonical_ip(ip) {
            *ip = canonical;
        }
    }
    for text in [&mut attachment.mac, &mut attachment.infiniband_guid]
        .into_iter()
        .flatten()
    {
        if let Some(canonical) = cni_types::address::canonical_mac(text) {
            *text = canonical;
        }
    }
    attachment
}

#[cfg(test)]
mod tests;
