//! Every route of the API but three: `GET /v1/openapi.json`, `GET /metrics`, which is not ours to shape, and [`UPLINK`].

use bellwether_fleet::{Group, Role, Site};
use bellwether_types::Name;

use crate::endpoint::{Access, Endpoint, Method, NoQuery};
use crate::openapi::Document;
use crate::{
    After, AuditInfo, Before, Certified, ContentPiece, ContentReceived, ContentSize, EnrolRequest,
    Events, JobInfo, JobLine, JobWanted, JobsPage, LeaderWanted, List, Missing, MissingPage,
    NodeInfo, NodeLabels, NodePlace, NodeSettings, NodeStatus, NodesPage, Octets, Page,
    RenewRequest, SegmentInfo, SegmentTitle, ServerInfo, Since, SitePlan, StatusPage, TokenGiven,
    TokenInfo, TokenWanted, TreeWanted, VersionInfo, VersionsKept,
};

/// Where the leader of a segment holds a request open (`POST`, by a node's certificate): messages go up in its body and down
/// in that of the answer, as `docs/formats.md` tells.
pub const UPLINK: &str = "/v1/uplink";

const VIEWER: Access = Access::AtLeast(Role::Viewer);
const OPERATOR: Access = Access::AtLeast(Role::Operator);
const ADMIN: Access = Access::AtLeast(Role::Admin);
const JOINING: Access = Access::AtLeast(Role::Node);

/// `Name: METHOD "path" by who, key, query, body => status reply;` with what it does above.
macro_rules! routes {
    ($( #[doc = $summary:literal] $name:ident: $method:ident $path:literal by $access:expr,
        $key:ty, $query:ty, $body:ty => $status:literal $reply:ty; )*) => {
        $(
            #[doc = $summary]
            #[derive(Debug, Clone, Copy)]
            pub struct $name;

            impl Endpoint for $name {
                const NAME: &'static str = stringify!($name);
                const SUMMARY: &'static str = $summary;
                const METHOD: Method = Method::$method;
                const PATH: &'static str = $path;
                const ACCESS: Access = $access;
                const STATUS: u16 = $status;
                type Key = $key;
                type Query = $query;
                type Body = $body;
                type Reply = $reply;
            }
        )*

        pub(crate) fn document_all(document: &mut Document) {
            $( document.add::<$name>(); )*
        }
    };
}

routes! {
    #[doc = "Says whether the server is at work."]
    Health: Get "/healthz" by Access::Anyone, (), NoQuery, () => 204 ();
    #[doc = "Tells of the control server."]
    ShowServer: Get "/v1/server" by VIEWER, (), NoQuery, () => 200 ServerInfo;

    #[doc = "Gives a token, which is told this once."]
    CreateToken: Post "/v1/tokens" by ADMIN, (), NoQuery, TokenWanted => 201 TokenGiven;
    #[doc = "Lists the tokens that were given."]
    ListTokens: Get "/v1/tokens" by ADMIN, (), Page, () => 200 List<TokenInfo>;
    #[doc = "Takes a token away, at once."]
    RevokeToken: Delete "/v1/tokens/{token}" by ADMIN, Name, NoQuery, () => 204 ();

    #[doc = "Defines a site."]
    CreateSite: Post "/v1/sites" by OPERATOR, (), NoQuery, Site => 201 Site;
    #[doc = "Lists the sites."]
    ListSites: Get "/v1/sites" by VIEWER, (), Page, () => 200 List<Site>;
    #[doc = "Shows a site."]
    ShowSite: Get "/v1/sites/{site}" by VIEWER, Name, NoQuery, () => 200 Site;
    #[doc = "Defines a site anew."]
    ChangeSite: Put "/v1/sites/{site}" by OPERATOR, Name, NoQuery, Site => 200 Site;
    #[doc = "Forgets a site that no group names. Its content stays on the nodes."]
    RemoveSite: Delete "/v1/sites/{site}" by OPERATOR, Name, NoQuery, () => 204 ();

    #[doc = "Tells which contents of a manifest the server lacks."]
    ListMissing: Post "/v1/sites/{site}/missing" by OPERATOR, Name, MissingPage, Octets => 200 Missing;
    #[doc = "Tells how much of a content came."]
    ShowContent: Get "/v1/contents/{content}" by OPERATOR, Name, ContentSize, () => 200 ContentReceived;
    #[doc = "Takes a content by its hash, whole or the piece that follows what came."]
    PutContent: Put "/v1/contents/{content}" by OPERATOR, Name, ContentPiece, Octets => 200 ContentReceived;
    #[doc = "Keeps a tree, all of whose contents are here, as the latest version of each part of a site."]
    KeepVersion: Post "/v1/sites/{site}/versions" by OPERATOR, Name, TreeWanted, Octets => 200 VersionsKept;
    #[doc = "Lists the versions of a site that are kept."]
    ListVersions: Get "/v1/sites/{site}/versions" by VIEWER, Name, Before, () => 200 List<VersionInfo>;
    #[doc = "Tells what publishing a tree would change, and changes nothing."]
    PlanSite: Post "/v1/sites/{site}/plan" by OPERATOR, Name, TreeWanted, Octets => 200 SitePlan;

    #[doc = "Defines a group."]
    CreateGroup: Post "/v1/groups" by OPERATOR, (), NoQuery, Group => 201 Group;
    #[doc = "Lists the groups."]
    ListGroups: Get "/v1/groups" by VIEWER, (), Page, () => 200 List<Group>;
    #[doc = "Shows a group."]
    ShowGroup: Get "/v1/groups/{group}" by VIEWER, Name, NoQuery, () => 200 Group;
    #[doc = "Defines a group anew; the next job uses it."]
    ChangeGroup: Put "/v1/groups/{group}" by OPERATOR, Name, NoQuery, Group => 200 Group;
    #[doc = "Forgets a group."]
    RemoveGroup: Delete "/v1/groups/{group}" by OPERATOR, Name, NoQuery, () => 204 ();

    #[doc = "Lists the segments."]
    ListSegments: Get "/v1/segments" by VIEWER, (), Page, () => 200 List<SegmentInfo>;
    #[doc = "Shows a segment, by its name or by what people call it."]
    ShowSegment: Get "/v1/segments/{segment}" by VIEWER, Name, NoQuery, () => 200 SegmentInfo;
    #[doc = "Gives a segment a name for people."]
    TitleSegment: Put "/v1/segments/{segment}/title" by OPERATOR, Name, NoQuery, SegmentTitle => 200 SegmentInfo;

    #[doc = "Asks the leader of a segment to hand its office over. It is done moments later, or not at all."]
    ChangeLeader: Post "/v1/segments/{segment}/leader" by OPERATOR, Name, NoQuery, LeaderWanted => 200 SegmentInfo;

    #[doc = "Lists the nodes."]
    ListNodes: Get "/v1/nodes" by VIEWER, (), NodesPage, () => 200 List<NodeInfo>;
    #[doc = "Shows a node, by its name or by the beginning of its id."]
    ShowNode: Get "/v1/nodes/{node}" by VIEWER, Name, NoQuery, () => 200 NodeInfo;
    #[doc = "Gives a node labels, and takes some away."]
    LabelNode: Patch "/v1/nodes/{node}/labels" by OPERATOR, Name, NoQuery, NodeLabels => 200 NodeInfo;
    #[doc = "Says that a node belongs to another segment."]
    MoveNode: Put "/v1/nodes/{node}/segment" by OPERATOR, Name, NoQuery, NodePlace => 200 NodeInfo;
    #[doc = "Puts a node out: its certificate counts no more, at once."]
    RemoveNode: Delete "/v1/nodes/{node}" by OPERATOR, Name, NoQuery, () => 204 ();

    #[doc = "Asks for a job."]
    CreateJob: Post "/v1/jobs" by OPERATOR, (), NoQuery, JobWanted => 201 JobInfo;
    #[doc = "Lists the jobs, the latest first."]
    ListJobs: Get "/v1/jobs" by VIEWER, (), JobsPage, () => 200 List<JobLine>;
    #[doc = "Shows a job; at once, or when it has changed."]
    ShowJob: Get "/v1/jobs/{job}" by VIEWER, Name, Since, () => 200 JobInfo;
    #[doc = "Calls a job off. What is decided can only be rolled back."]
    AbortJob: Post "/v1/jobs/{job}/abort" by OPERATOR, Name, NoQuery, () => 200 JobInfo;
    #[doc = "Says that what nodes have staged may become live, where that is done by hand."]
    CommitJob: Post "/v1/jobs/{job}/commit" by OPERATOR, Name, NoQuery, () => 200 JobInfo;
    #[doc = "Tells who serves what, by the receipts that nodes signed."]
    ShowStatus: Get "/v1/status" by VIEWER, (), StatusPage, () => 200 List<NodeStatus>;

    #[doc = "Tells what happened. Asked for `text/event-stream`, it goes on telling (server-sent events)."]
    ListEvents: Get "/v1/events" by VIEWER, (), After, () => 200 Events;
    #[doc = "Shows who wanted what, and what came of it."]
    ListAudit: Get "/v1/audit" by VIEWER, (), Before, () => 200 List<AuditInfo>;

    #[doc = "Takes a node in, by a join token."]
    Enrol: Post "/v1/enrol" by JOINING, (), NoQuery, EnrolRequest => 200 Certified;
    #[doc = "Gives a node another certificate before its own ends."]
    Renew: Post "/v1/renew" by Access::Node, (), NoQuery, RenewRequest => 200 Certified;
    #[doc = "Tells a node what it is to know."]
    ShowSettings: Get "/v1/settings" by Access::Node, (), NoQuery, () => 200 NodeSettings;

    #[doc = "Gives a node an assignment, or a range of its bytes."]
    FetchAssignment: Get "/v1/assignments/{assignment}" by Access::Node, Name, NoQuery, () => 200 Octets;
}
