//! Typed access to what the host shows, for the guest's resources and for their native twins.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::attachments::{self, Filter, Info};
use crate::{
    Attachment, Denial, EditError, EditErrorKind, Outcome, Plan, Request, Selection, Selections,
};

/// One plugin of a conf.
#[derive(Debug, Clone, PartialEq)]
pub struct Plugin {
    /// Pointer to it for [`Attachment::conf_set`]: empty for the only plugin of a conf.
    pub pointer: String,
    /// Its conf.
    pub conf: Value,
}

impl Plugin {
    /// Its `type`.
    pub fn kind(&self) -> &str {
        let kind = self.conf.get("type").and_then(Value::as_str);
        kind.unwrap_or_default()
    }
}

impl Attachment {
    /// The value at a pointer into the conf; `None` if it does not exist.
    ///
    /// # Errors
    /// Which value is not of the type, and why. `?` turns it into a denial.
    pub fn conf_as<T: DeserializeOwned>(&self, pointer: &str) -> Result<Option<T>, Denial> {
        let Some(json) = self.conf_get(pointer) else {
            return Ok(None);
        };
        let parsed = serde_json::from_str(&json)
            .map_err(|error| format!("network {:?}, conf{pointer}: {error}", self.network()))?;
        Ok(Some(parsed))
    }

    /// Like [`conf_set`](Self::conf_set), for any value.
    ///
    /// # Errors
    /// The host's.
    pub fn conf_put(&self, pointer: &str, value: &impl Serialize) -> Result<(), EditError> {
        let json = serde_json::to_string(value)
            .map_err(|error| EditError::new(EditErrorKind::Invalid, error.to_string()))?;
        self.conf_set(pointer, &json)
    }

    /// The plugins of the chain in order; the conf itself if it is a single plugin.
    pub fn plugins(&self) -> Vec<Plugin> {
        let parsed = |json: String| serde_json::from_str(&json).unwrap_or_default();
        let Some(chain) = self.conf_get("/plugins") else {
            let conf = parsed(self.conf());
            let pointer = String::new();
            return vec![Plugin { pointer, conf }];
        };
        let Value::Array(chain) = parsed(chain) else {
            return Vec::new();
        };
        let plugins = chain.into_iter().enumerate();
        plugins
            .map(|(index, conf)| Plugin {
                pointer: format!("/plugins/{index}"),
                conf,
            })
            .collect()
    }

    /// The arguments of all capabilities.
    ///
    /// # Errors
    /// Which argument is not of the type, and why. `?` turns it into a denial.
    pub fn runtime_config_as<T: DeserializeOwned>(&self) -> Result<T, Denial> {
        serde_json::from_str(&self.runtime_config())
            .map_err(|error| format!("network {:?}, runtimeConfig: {error}", self.network()).into())
    }

    /// Whether a plugin declares a capability.
    pub fn has_capability(&self, name: &str) -> bool {
        self.capabilities().iter().any(|known| known == name)
    }
}

impl Request {
    /// The pod's namespace; empty for GC and STATUS.
    pub fn namespace(&self) -> String {
        self.pod().map(|pod| pod.namespace).unwrap_or_default()
    }

    /// The pod's name; empty for GC and STATUS.
    pub fn pod_name(&self) -> String {
        self.pod().map(|pod| pod.name).unwrap_or_default()
    }
}

impl Selections {
    /// The selections with their indexes.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Selection)> {
        (0..).zip(self.all())
    }
}

impl Plan {
    /// The attachments in order.
    pub fn iter(&self) -> impl Iterator<Item = Attachment> + '_ {
        (0..self.length()).filter_map(|index| self.at(index))
    }

    /// The attachments in order, each with its network-status, once there is one.
    pub fn statuses(&self) -> impl Iterator<Item = (Attachment, Outcome)> + '_ {
        (0..self.length()).filter_map(|index| self.at(index).zip(self.status(index)))
    }
}

impl Filter {
    /// Fits every attachment.
    pub const ALL: Self = Self {
        namespace: None,
        pod: None,
        network: None,
        ip: None,
        mac: None,
    };

    /// Fits attachments with an address, or with one in a CIDR.
    pub fn ip(ip: impl Into<String>) -> Self {
        Self {
            ip: Some(ip.into()),
            ..Self::ALL
        }
    }

    /// Fits attachments with a MAC.
    pub fn mac(mac: impl Into<String>) -> Self {
        Self {
            mac: Some(mac.into()),
            ..Self::ALL
        }
    }

    /// Fits attachments of a network.
    pub fn network(network: impl Into<String>) -> Self {
        Self {
            network: Some(network.into()),
            ..Self::ALL
        }
    }

    /// The attachments of this node that fit, page by page; needs the grant `attachments`. After an
    /// error it ends.
    pub fn find(&self) -> impl Iterator<Item = Result<Info, attachments::Error>> + '_ {
        let mut page = Vec::new().into_iter();
        let mut next = Some(None);
        std::iter::from_fn(move || {
            loop {
                if let Some(one) = page.next() {
                    return Some(Ok(one));
                }
                let asked: Option<String> = next.take()?;
                match attachments::find(self, asked.as_deref()) {
                    Ok(found) => {
                        page = found.attachments.into_iter();
                        next = found.next.map(Some);
                    }
                    Err(error) => return Some(Err(error)),
                }
            }
        })
    }
}

impl From<attachments::Error> for Denial {
    fn from(error: attachments::Error) -> Self {
        match error {
            attachments::Error::Unavailable => {
                "the attachments of this node are not known yet".into()
            }
            attachments::Error::Invalid(reason) => reason.into(),
        }
    }
}
