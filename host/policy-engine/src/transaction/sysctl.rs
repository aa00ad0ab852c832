//! Names of kernel settings, which tuning reads in several spellings.

use super::difference::folded;

/// What tuning replaces by the interface's name.
const INTERFACE: &str = "ifname";

/// One name for all spellings of a setting: parts are separated by dots or slashes, whichever comes
/// first, the other one is then a dot within a part; the interface has its name or `IFNAME`.
pub(crate) fn setting(name: &str, if_name: &str) -> String {
    let name = folded(name);
    let first = name.find(['.', '/']).and_then(|at| name.get(at..));
    let swapped: String = match first.is_some_and(|rest| rest.starts_with('.')) {
        true => name.chars().map(swapped).collect(),
        false => name.into_owned(),
    };
    let if_name = folded(if_name);
    // As a path is cleaned below `/proc/sys`.
    let mut parts: Vec<&str> = Vec::new();
    for part in swapped.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part if *part == *if_name => parts.push(INTERFACE),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn swapped(c: char) -> char {
    match c {
        '.' => '/',
        '/' => '.',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_setting_are_one() {
        let check = |name: &str, expected: &str| assert_eq!(setting(name, "Net1"), expected);
        let arp = "net/ipv4/conf/ifname/arp_ignore";
        check("net.ipv4.conf.Net1.arp_ignore", arp);
        check("net/ipv4/conf/Net1/arp_ignore", arp);
        check("net.ipv4.conf.IFNAME.arp_ignore", arp);
        check("net//ipv4/./conf/x/../IFNAME/arp_ignore", arp);
        check("net..ipv4.conf.Net1.arp_ignore", arp);
        check("/net/ipv4/conf/Net1/arp_ignore", arp);
        check(
            "net.ipv4.conf.net2.arp_ignore",
            "net/ipv4/conf/net2/arp_ignore",
        );
        check("net.ipv4.conf.a/7.x", "net/ipv4/conf/a.7/x");
        check("net/ipv4/conf/a.7/x", "net/ipv4/conf/a.7/x");
        check("", "");
    }
}
