// Sets the MTU of a pod's networks up to a limit, and adds a nameserver to their results.
//
// Settings: { "maxMtu": 9000, "nameserver": "10.0.0.53" }. The pod's annotation is example.com/mtu.

import { get } from "cnidaria:policy/settings@0.3.0";
import { log } from "cnidaria:policy/log@0.3.0";

const ANNOTATION = "example.com/mtu";

function read(settings) {
  const { maxMtu, nameserver, ...unknown } = JSON.parse(settings) ?? {};
  const [key] = Object.keys(unknown);
  if (key !== undefined) throw `unknown key "${key}"`;
  if (!Number.isInteger(maxMtu)) throw `maxMtu: expected a whole number, not ${JSON.stringify(maxMtu)}`;
  if (typeof nameserver !== "string") throw `nameserver: expected an address`;
  return { maxMtu, nameserver };
}

function deny(code, message) {
  return { tag: "deny", val: { code, message } };
}

const accept = { tag: "accept" };

// Export an interface as an object of its functions. Throw the error of a `result`.
export const configure = {
  configure(settings) {
    read(settings);
  },
};

export const beforeAdd = {
  beforeAdd(request, attachment, _plan) {
    const { maxMtu } = read(get());
    const wanted = request.annotation(ANNOTATION);
    if (wanted === null || attachment.isDefault()) return accept;
    const mtu = /^[0-9]+$/.test(wanted) ? Number(wanted) : NaN;
    if (!(mtu <= maxMtu)) return deny(110, `${ANNOTATION}: ${wanted} is more than ${maxMtu}`);
    try {
      attachment.setMtu(mtu);
    } catch (refused) {
      return deny(111, `${ANNOTATION}: ${refused.payload.message}`);
    }
    log("info", `${attachment.network()} gets an MTU of ${mtu}`);
    return accept;
  },
};

export const afterAdd = {
  afterAdd(_request, attachment, outcome) {
    if (attachment.isDefault()) return accept;
    const { nameserver } = read(get());
    const dns = outcome.dns();
    outcome.setDns({ ...dns, nameservers: [...dns.nameservers, nameserver] });
    outcome.tag("mtu", attachment.confGet("/mtu") ?? "unset");
    return accept;
  },
};
