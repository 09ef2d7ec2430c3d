//! What may be asked of the API server, in words and as the rule that grants it.

use std::fmt;

/// Resources that belong to no namespace, as far as the agent asks for any.
const CLUSTER_SCOPED: [&str; 2] = ["nodes", "namespaces"];

/// One permission of Kubernetes' role based access control.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Permission {
    /// `get`, `list`, `watch`, `create`, `update`, ...
    pub verb: String,
    /// The API group; empty for the core.
    pub group: String,
    /// The resource, in the plural.
    pub resource: String,
    /// A part of it, such as `metrics` of `nodes`; empty for the whole.
    pub subresource: String,
    /// One object by its name; empty for all.
    pub name: String,
    /// The namespace; `None` for all of them, and for resources that have none.
    pub namespace: Option<String>,
}

impl Permission {
    /// The permission to do `verb` to all objects of a resource.
    #[must_use]
    pub fn new(verb: &str, group: &str, resource: &str, namespace: Option<&str>) -> Self {
        Self {
            verb: verb.to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.map(str::to_owned),
            ..Self::default()
        }
    }

    /// The rule that grants it, as one line of YAML for `rules:` of a Role or ClusterRole.
    #[must_use]
    pub fn rule(&self) -> String {
        let Self { verb, group, name, .. } = self;
        let resource = self.whole_resource();
        // Nobody can watch without listing first, and the other way round it makes no sense here.
        let verbs = if matches!(verb.as_str(), "list" | "watch") { "list, watch" } else { verb };
        let names = if name.is_empty() { String::new() } else { format!(", resourceNames: [{name}]") };
        format!("{{apiGroups: [\"{group}\"], resources: [{resource}]{names}, verbs: [{verbs}]}}")
    }

    /// Where the rule has to stand.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("a Role in namespace {namespace}, or a ClusterRole"),
            None => "a ClusterRole".to_owned(),
        }
    }

    fn whole_resource(&self) -> String {
        match self.subresource.as_str() {
            "" => self.resource.clone(),
            part => format!("{}/{part}", self.resource),
        }
    }
}

/// As people say it: `list endpointslices.discovery.k8s.io in namespace gpu-operator`.
impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.whole_resource())?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if !self.name.is_empty() {
            write!(f, " {}", self.name)?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None if CLUSTER_SCOPED.contains(&self.resource.as_str()) => Ok(()),
            None => f.write_str(" in all namespaces"),
        }
    }
}
