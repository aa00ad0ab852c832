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

    /// The targets that name none of these attachments, each a network and an interface.
    pub(crate) fn unmatched<'a>(
        &'a self,
        attachments: &'a [(String, String)],
    ) -> impl Iterator<Item = &'a str> {
        let targets = self.0.iter().map(|(target, _)| target.as_str());
        targets.filter(|target| {
            let mut all = attachments.iter();
            !all.any(|(network, if_name)| names(network, if_name).contains(target))
        })
    }

    /// The MTU of an attachment: by interface, else by `namespace/name`, else by name.
    pub(crate) fn mtu_of(&self, network: &str, if_name: &str) -> Option<u32> {
        names(network, if_name).into_iter().find_map(|wanted| {
            let (_, mtu) = self.0.iter().find(|(target, _)| target == wanted)?;
            Some(*mtu)
        })
    }
}

/// The targets that mean an attachment, the most specific one first.
fn names<'a>(network: &'a str, if_name: &'a str) -> [&'a str; 3] {
    let name = network.rsplit('/').next().unwrap_or(network);
    [if_name, network, name]
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
    fn targets_without_an_attachment_are_found() {
        let requests = parsed("net1=1, storage=2, team-b/storage=3, stroage=4, net7=5");
        let attachments = [("default", "eth0"), ("team-a/storage", "net1")];
        let attachments =
            attachments.map(|(network, if_name)| (network.to_owned(), if_name.to_owned()));
        let unmatched: Vec<&str> = requests.unmatched(&attachments).collect();
        assert_eq!(unmatched, ["team-b/storage", "stroage", "net7"]);
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
