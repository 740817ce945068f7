//! `hostname` and `domainname`.
use crate::Result;
use crate::error::On;
use crate::faults::Faults;
use crate::rooms::namespaces::Namespace;

/// The names to set; empty ones stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    hostname: String,
    domainname: String,
}

/// Decides the names.
pub fn plan(hostname: &str, domainname: &str, namespace: &Namespace, faults: &mut Faults) -> Plan {
    for (at, name) in [("hostname", hostname), ("domainname", domainname)] {
        if !name.is_empty() && !namespace.is_private() {
            faults.add(at, format!("unable to set {at} without a private UTS namespace"));
        }
    }
    Plan { hostname: hostname.to_owned(), domainname: domainname.to_owned() }
}

/// Sets the names in the container's UTS namespace.
pub fn init_apply(plan: &Plan) -> Result<()> {
    if !plan.hostname.is_empty() {
        sys::set_host_name(plan.hostname.as_bytes())
            .map_err(|e| failed("sethostname", &plan.hostname, e))
            .on(|| "hostname".to_owned())?;
    }
    if !plan.domainname.is_empty() {
        sys::set_domain_name(plan.domainname.as_bytes())
            .map_err(|e| failed("setdomainname", &plan.domainname, e))
            .on(|| "domainname".to_owned())?;
    }
    Ok(())
}

fn failed(call: &'static str, name: &str, errno: sys::Errno) -> sys::Error {
    sys::Error { call, args: format!("{name:?}"), errno }
}
