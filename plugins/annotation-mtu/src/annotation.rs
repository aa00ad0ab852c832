//! Parses the annotation: comma-separated `interface=mtu` or `network=mtu`.

/// The requested MTUs, in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Requests(Vec<(String, u32)>);

/// Why the annotation is malformed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// An element without `=` or without a target.
    NoTarget(String),
    /// An MTU that is not a number.
    NoNumber(String),
    /// An interface or network named twice.
    Twice(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoTarget(element) => write!(f, "{element:?} is not of the form interface=mtu"),
            Self::NoNumber(element) => write!(f, "{element:?} has no number after '='"),
            Self::Twice(target) => write!(f, "{target:?} is named twice"),
        }
    }
}

impl Requests {
    /// Parses `net1=1400, team-a/storage=9000`, ignoring whitespace around elements.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let mut requests: Vec<(String, u32)> = Vec::new();
        for element in text.split(',').map(str::trim) {
            let (target, mtu) = element
                .split_once('=')
                .map(|(target, mtu)| (target.trim(), mtu.trim()))
                .filter(|(target, _)| !target.is_empty())
                .ok_or_else(|| Error::NoTarget(element.to_owned()))?;
            let mtu = mtu
                .parse()
                .map_err(|_| Error::NoNumber(element.to_owned()))?;
            if requests.iter().any(|(known, _)| known == target) {
                return Err(Error::Twice(target.to_owned()));
            }
            requests.push((target.to_owned(), mtu));
        }
        Ok(Self(requests))
    }

    /// The MTU of an attachment: by interface, else by `namespace/name`, else by name.
    pub(crate) fn mtu_of(&self, network: &str, if_name: &str) -> Option<u32> {
        let name = network.rsplit('/').next();
        [Some(if_name), Some(network), name]
            .into_iter()
            .flatten()
            .find_map(|wanted| {
                let (_, mtu) = self.0.iter().find(|(target, _)| target == wanted)?;
                Some(*mtu)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Requests {
        Requests::parse(text).unwrap()
    }

    #[test]
    fn most_specific_element_wins() {
        let requests = parsed("storage=1, team-a/storage=2 ,net1=3");
        assert_eq!(requests.mtu_of("team-a/storage", "net1"), Some(3));
        assert_eq!(requests.mtu_of("team-a/storage", "net2"), Some(2));
        assert_eq!(requests.mtu_of("team-b/storage", "net2"), Some(1));
        assert_eq!(requests.mtu_of("team-b/other", "net2"), None);
    }

    #[test]
    fn malformed_elements_are_named() {
        let check = |text, error: Error| assert_eq!(Requests::parse(text), Err(error));
        check("", Error::NoTarget(String::new()));
        check("1400", Error::NoTarget("1400".to_owned()));
        check("=1400", Error::NoTarget("=1400".to_owned()));
        check("net1=big", Error::NoNumber("net1=big".to_owned()));
        check("net1=-1", Error::NoNumber("net1=-1".to_owned()));
        check(
            "net1=99999999999",
            Error::NoNumber("net1=99999999999".to_owned()),
        );
        check("net1=1,net1=2", Error::Twice("net1".to_owned()));
    }
}
