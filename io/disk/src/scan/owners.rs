use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use bellwether_content::Owner;
use bellwether_types::TreePath;

use super::ScanError;

/// Names of users and groups, and each pair of them once, however many entries share it.
///
/// Read from `/etc/passwd` and `/etc/group`: a static binary cannot load the system's name
/// service modules, so owners from a directory server have no names here and are refused.
#[derive(Debug, Default)]
pub(super) struct Owners {
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
    pairs: BTreeMap<(u32, u32), Arc<Owner>>,
}

impl Owners {
    pub(super) fn of_this_machine() -> Self {
        let read = |file| names(&fs::read_to_string(file).unwrap_or_default());
        Self {
            users: read("/etc/passwd"),
            groups: read("/etc/group"),
            pairs: BTreeMap::new(),
        }
    }

    pub(super) fn of(
        &mut self,
        path: &TreePath,
        user: u32,
        group: u32,
    ) -> Result<Arc<Owner>, ScanError> {
        if let Some(owner) = self.pairs.get(&(user, group)) {
            return Ok(Arc::clone(owner));
        }
        let name = |names: &BTreeMap<u32, String>, role, id| {
            names.get(&id).cloned().ok_or_else(|| ScanError::Nameless {
                path: path.clone(),
                role,
                id,
            })
        };
        let owner = Arc::new(Owner {
            user: name(&self.users, "user", user)?,
            group: name(&self.groups, "group", group)?,
        });
        self.pairs.insert((user, group), Arc::clone(&owner));
        Ok(owner)
    }
}

/// Lines of `name:password:id:…`; the first name of an id is the one that counts.
fn names(table: &str) -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    for line in table.lines() {
        let mut fields = line.split(':');
        if let (Some(name), _, Some(id)) = (fields.next(), fields.next(), fields.next())
            && let Ok(id) = id.parse()
        {
            names.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_an_id_counts_and_odd_lines_do_not() {
        let names = names("root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:\n\n+nis\nwww:x:33:\n");
        assert_eq!(
            names,
            BTreeMap::from([(0, "root".to_owned()), (33, "www".to_owned())])
        );
    }
}
