//! Decides which network has the pod's default route, from the `default-route` of its selections
//! (multi-network specification 1.3, section 4.1.2.1.9). Each address family has one default route.

use std::net::IpAddr;

use cni_types::result::{CniResult, Route};
use ipnet::IpNet;

use super::attachment::Attachment;

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    const BOTH: [Self; 2] = [Self::V4, Self::V6];

    fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }
}

/// Two claims to the default route of one family.
#[derive(Debug, thiserror::Error)]
pub enum Conflict {
    /// Two networks claim it.
    #[error("networks {first:?} and {second:?} both want the default route")]
    Networks {
        /// The first network.
        first: String,
        /// The second network.
        second: String,
    },
    /// One network names two gateways.
    #[error("network {network:?} names two gateways for one default route, {first} and {second}")]
    Gateways {
        /// The network that names both.
        network: String,
        /// The first gateway.
        first: IpAddr,
        /// The second gateway.
        second: IpAddr,
    },
}

/// A gateway to set as the default route through an attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The attachment's position in the plan.
    pub position: usize,
    /// The gateway; its family is the route's.
    pub gateway: IpAddr,
}

/// The default routes claimed by the pod's selections.
#[derive(Debug, Default)]
pub struct Claims {
    /// The named gateways, with their attachments' positions.
    named: Vec<Change>,
    /// Attachments that keep their delegate's own default route.
    kept: Vec<usize>,
}

impl Claims {
    /// Collects the claims of a plan.
    ///
    /// # Errors
    /// [`Conflict`] if a family is claimed twice.
    pub fn of(attachments: &[Attachment]) -> Result<Self, Conflict> {
        let mut claims = Self::default();
        for (position, attachment) in attachments.iter().enumerate() {
            match attachment.default_route.as_deref() {
                None => {}
                Some([]) => claims.kept.push(position),
                Some(gateways) => {
                    claims
                        .named
                        .extend(gateways.iter().map(|&gateway| Change { position, gateway }));
                }
            }
        }
        let name = |position| {
            attachments
                .get(position)
                .map(|one: &Attachment| one.network.clone())
                .unwrap_or_default()
        };
        for (index, one) in claims.named.iter().enumerate() {
            let mut others = claims.named.iter().skip(index + 1);
            if let Some(other) = others.find(|o| Family::of(o.gateway) == Family::of(one.gateway)) {
                return Err(match one.position == other.position {
                    true => Conflict::Gateways {
                        network: name(one.position),
                        first: one.gateway,
                        second: other.gateway,
                    },
                    false => Conflict::Networks {
                        first: name(one.position),
                        second: name(other.position),
                    },
                });
            }
        }
        if let [first, second, ..] = claims.kept.as_slice() {
            return Err(Conflict::Networks {
                first: name(*first),
                second: name(*second),
            });
        }
        Ok(claims)
    }

    /// Whether there are no claims: the delegates decide the default routes.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && self.kept.is_empty()
    }

    /// The changes to make after the attachment at `position` was added with this result.
    pub fn after(&self, position: usize, result: &CniResult) -> Vec<Change> {
        Family::BOTH
            .into_iter()
            .filter_map(|family| self.change(family, position, result))
            .collect()
    }

    fn change(&self, family: Family, position: usize, result: &CniResult) -> Option<Change> {
        let named = self
            .named
            .iter()
            .find(|change| Family::of(change.gateway) == family);
        match named {
            Some(change) if change.position == position => Some(*change),
            // A later delegate set a default route that it must not have.
            Some(change) if change.position < position => {
                default_gateway(result, family).map(|_| *change)
            }
            Some(_) => None,
            None if self.kept.contains(&position) => {
                default_gateway(result, family)?.map(|gateway| Change { position, gateway })
            }
            None => None,
        }
    }
}

/// The gateway of the default route of a family, if there is such a route.
fn default_gateway(result: &CniResult, family: Family) -> Option<Option<IpAddr>> {
    let route = result
        .routes
        .iter()
        .find(|route| is_default(route, family))?;
    let of_address = || {
        let mut gateways = result.ips.iter().filter_map(|ip| ip.gateway);
        gateways.find(|gateway| Family::of(*gateway) == family)
    };
    Some(route.gw.or_else(of_address))
}

fn is_default(route: &Route, family: Family) -> bool {
    route.dst.prefix_len() == 0 && Family::of(route.dst.addr()) == family
}

/// Applies a change to the results available so far, by position in the plan.
pub fn apply<'a>(change: Change, results: impl Iterator<Item = (usize, &'a mut CniResult)>) {
    let family = Family::of(change.gateway);
    for (position, result) in results {
        result.routes.retain(|route| !is_default(route, family));
        if position == change.position {
            let dst = match family {
                Family::V4 => IpNet::V4(ipnet::Ipv4Net::default()),
                Family::V6 => IpNet::V6(ipnet::Ipv6Net::default()),
            };
            result.routes.push(Route::new(dst, Some(change.gateway)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attachment::interface_at;
    use crate::domain::runtime_config::RuntimeConfig;
    use cni_types::conf::NetworkConfList;
    use cni_types::version::{ConfVersion, Version};

    fn plan(routes: &[Option<&[&str]>]) -> Vec<Attachment> {
        routes
            .iter()
            .enumerate()
            .map(|(position, gateways)| Attachment {
                network: format!("n{position}"),
                if_name: interface_at(position),
                is_default: position == 0,
                is_chosen: false,
                selection: None,
                conf: NetworkConfList::parse_any(r#"{"cniVersion":"1.0.0","name":"n","type":"t"}"#)
                    .unwrap(),
                request: RuntimeConfig::default(),
                base: RuntimeConfig::default(),
                args: cni_types::args::CniArgs::new(),
                device: None,
                device_info_file: None,
                default_route: gateways
                    .map(|list| list.iter().map(|ip| ip.parse().unwrap()).collect()),
                ipam_claim_reference: None,
            })
            .collect()
    }

    fn result(routes: &str) -> CniResult {
        let text = format!(
            r#"{{"cniVersion":"1.0.0","ips":[{{"address":"10.1.0.2/24","gateway":"10.1.0.1"}}],"routes":[{routes}]}}"#
        );
        CniResult::parse(text.as_bytes(), ConfVersion::from(Version::V1_0_0)).unwrap()
    }

    fn change(position: usize, gateway: &str) -> Change {
        Change {
            position,
            gateway: gateway.parse().unwrap(),
        }
    }

    #[test]
    fn claimed_gateway_is_set_after_its_network() {
        let claims = Claims::of(&plan(&[None, Some(&["10.2.0.1", "fd00::1"]), None])).unwrap();
        assert_eq!(claims.after(0, &result(r#"{"dst":"0.0.0.0/0"}"#)), []);
        assert_eq!(
            claims.after(1, &result("")),
            [change(1, "10.2.0.1"), change(1, "fd00::1")]
        );
        assert_eq!(claims.after(2, &result("")), []);
    }

    #[test]
    fn a_default_route_that_comes_later_does_not_win() {
        let claims = Claims::of(&plan(&[None, Some(&["10.2.0.1"]), None])).unwrap();
        assert_eq!(
            claims.after(2, &result(r#"{"dst":"0.0.0.0/0"}"#)),
            [change(1, "10.2.0.1")]
        );
    }

    #[test]
    fn unclaimed_family_keeps_its_default_route() {
        let claims = Claims::of(&plan(&[None, Some(&["10.2.0.1"])])).unwrap();
        assert_eq!(
            claims.after(1, &result(r#"{"dst":"::/0"}"#)),
            [change(1, "10.2.0.1")]
        );
    }

    #[test]
    fn an_empty_list_keeps_what_the_delegate_says() {
        let claims = Claims::of(&plan(&[None, Some(&[])])).unwrap();
        assert_eq!(
            claims.after(1, &result(r#"{"dst":"0.0.0.0/0"}"#)),
            [change(1, "10.1.0.1")]
        );
        assert_eq!(claims.after(1, &result("")), []);
    }

    #[test]
    fn a_family_can_be_claimed_once() {
        assert!(Claims::of(&plan(&[None, Some(&["10.2.0.1"]), Some(&["10.3.0.1"])])).is_err());
        let of_one = Claims::of(&plan(&[None, Some(&["10.2.0.1", "10.2.0.2"])]));
        assert_eq!(
            of_one.unwrap_err().to_string(),
            r#"network "n1" names two gateways for one default route, 10.2.0.1 and 10.2.0.2"#
        );
        assert!(Claims::of(&plan(&[None, Some(&["10.2.0.1"]), Some(&["fd00::1"])])).is_ok());
        assert!(Claims::of(&plan(&[None, Some(&[]), Some(&[])])).is_err());
    }

    #[test]
    fn results_have_one_default_route_afterwards() {
        let mut results = [
            result(r#"{"dst":"0.0.0.0/0"},{"dst":"10.9.0.0/16"}"#),
            result(""),
        ];
        apply(change(1, "10.2.0.1"), results.iter_mut().enumerate());
        let shown = |result: &CniResult| -> Vec<String> {
            result
                .routes
                .iter()
                .map(|r| format!("{} {:?}", r.dst, r.gw.map(|g| g.to_string())))
                .collect()
        };
        assert_eq!(shown(&results[0]), ["10.9.0.0/16 None"]);
        assert_eq!(shown(&results[1]), [r#"0.0.0.0/0 Some("10.2.0.1")"#]);
    }
}
