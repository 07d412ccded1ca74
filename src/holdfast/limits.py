"""Every bound in one place, with its unit in the name."""

from __future__ import annotations

TEXT_CHARS_MAX = 1_048_576
"""Characters in one message or memory."""

MESSAGES_PER_ADD_MAX = 1_000
"""Messages in one `add`."""

ADD_CHARS_MAX = 8_388_608
"""Characters in all messages of one `add` together."""

QUERY_CHARS_MAX = 32_768
"""Characters in a search query."""

ID_CHARS_MAX = 512
"""Characters in a user, agent, app or run id, an actor name, or an idempotency key."""

METADATA_BYTES_MAX = 65_536
"""Bytes of one memory's metadata, as JSON."""

METADATA_DEPTH_MAX = 16
"""Nesting of metadata."""

CATEGORIES_MAX = 64
"""Categories of one memory."""

FILTER_DEPTH_MAX = 16
"""Nesting of AND/OR/NOT in a filter."""

FILTER_NODES_MAX = 256
"""Nodes (operators and comparisons) in one filter."""

FILTER_LIST_MAX = 1_000
"""Values in one `in` / `nin` list."""

TOP_K_MAX = 1_000
"""Results of one search."""

PAGE_SIZE_MAX = 1_000
"""Memories in one page of a listing."""

ENTITIES_SHOWN_MAX = 100_000
"""Users, agents, apps and runs in an answer that has no pages, as Mem0's clients ask for them."""

PAGE_MAX = 2**31
"""Greatest number of a page."""

BARE_LIST_MAX = 10_000
"""Memories in one list without pages, which Mem0's old clients ask for."""

BATCH_MAX = 1_000
"""Memories in one batch of updates or deletions."""

JOB_ATTEMPTS_MAX = 5
"""Tries of one job before it is dead-lettered."""

JOB_LEASE_S = 120.0
"""Seconds a worker owns a job without a heartbeat."""

JOB_BACKOFF_S = 1.0
"""Seconds before the second try of a job; doubles with each further try."""

JOB_BACKOFF_MAX_S = 300.0
"""Longest pause between two tries of a job, in seconds."""

MODEL_TIMEOUT_S = 60.0
"""Seconds one model call may take."""

DEADLINE_SHARE = 0.8
"""Part of the time its caller has left that one call of a model or an index may take."""

INDEX_TIMEOUT_S = 10.0
"""Seconds one question to an external index may take, retries included."""

INDEX_WRITE_TIMEOUT_S = 60.0
"""Seconds one write to an external index may take, retries included."""

INDEX_OPEN_TIMEOUT_S = 120.0
"""Seconds the making or checking of an external index may take, retries included."""

INDEX_CALLS_MAX = 64
"""Calls of an external index that one process has under way at once."""

CALLS_WAITING_MAX = 128
"""Calls of one model or index that wait, in one process, for others to end."""

DEADLINE_GRACE_S = 1.0
"""Seconds for which a server works on after its caller said it would wait no longer."""

WAIT_S_MAX = 86_400
"""Longest time one call waits for a job, in seconds."""

EXTRACTION_CHARS_MAX = 24_000
"""Characters of turns given to one extraction call; longer adds take several calls."""

NEARBY_MEMORIES_MAX = 20
"""Existing memories shown to one extraction call."""

SUPERSEDED_PER_TURN_MAX = 5
"""Memories that what one turn says may end."""

FACTS_PER_CALL_MAX = 100
"""Facts accepted from one extraction call."""

RERANK_CANDIDATES = 50
"""Memories a reranker scores for one search, unless `top_k` asks for more."""

RERANK_BATCH_MAX = 50
"""Memories in one call of a reranker; searches with a larger `top_k` take several."""

RERANK_CHARS_MAX = 2_000
"""Characters of one memory shown to a reranker."""

EMBED_BATCH_MAX = 256
"""Texts in one embedding call."""

BODY_BYTES_MAX = 32 * 1024 * 1024
"""Bytes of one HTTP request's body."""

WEBHOOKS_PER_PROJECT_MAX = 32
"""Webhooks of one project."""

WEBHOOK_URL_CHARS_MAX = 2_048
"""Characters of a webhook's address."""

WEBHOOK_ATTEMPTS_MAX = 10
"""Tries of one message to a webhook before it is dead-lettered."""

WEBHOOK_BACKOFF_S = 5.0
"""Longest pause before the second try of a message, in seconds; doubles with each further try."""

WEBHOOK_BACKOFF_MAX_S = 3_600.0
"""Longest pause between two tries of a message, in seconds."""

WEBHOOK_TIMEOUT_S = 10.0
"""Seconds one message may take, from the look-up of the name to the answer."""

WEBHOOK_LEASE_S = 30.0
"""Seconds after which a message is sent again whose sender died while it sent it."""

WEBHOOK_ANSWER_BYTES_MAX = 65_536
"""Bytes read of what a webhook answers."""

WEBHOOK_SENDS_MAX = 64
"""Messages one process sends at once."""

WEBHOOK_SENDS_EACH_MAX = 8
"""Messages one process sends to one webhook at once."""

WEBHOOK_PENDING_MAX = 10_000
"""Messages to one webhook that wait; further changes wait in the history."""

DELIVERED_KEPT_S = 7 * 86_400.0
"""Seconds for which is known that a message was delivered."""

DEAD_KEPT_S = 30 * 86_400.0
"""Seconds for which a dead-lettered message is kept, to be sent again."""

TRUST_NAMES_MAX = 1_000
"""Roles or actors that a policy of trust names."""

HELD_PREVIEW_CHARS = 160
"""Characters that a list of held adds shows of the first message of each."""

HELD_PAGE_MAX = 100
"""Held adds on one page of a list."""

FEEDBACK_CHARS_MAX = 4_096
"""Characters of the reason given with feedback."""

EXPORT_SCHEMA_BYTES_MAX = 65_536
"""Bytes of the schema of an export, as JSON."""

EXPORT_MEMORIES_MAX = 1_000
"""Memories in one export or summary."""

EXPORT_CHARS_MAX = 120_000
"""Characters of memories that a model is given for an export or summary."""

PROFILES_KEPT_MAX = 1_000
"""Profiles kept of one project; the oldest go, and are made anew when they are asked for."""

PROFILES_SAMPLED_MAX = 10
"""Profiles that are made at once to try a form."""

PROFILE_STALE_MEMORIES = 10
"""Memories that come until a profile is made anew when it is asked for."""

EXPORTS_KEPT_MAX = 50
"""Exports kept of one project; the oldest go."""

HEADER_BYTES_MAX = 65_536
"""Bytes of the head of one HTTP request: its line and headers."""

HEALTH_CONNECTIONS = 16
"""Connections beyond the bound of a server that are taken all the same, for health checks."""

BODY_GRACE_S = 1.0
"""Seconds after the end of a body's time in which its answer is sent before the line is cut."""

DEPENDENCY_TIMEOUT_S = 2.0
"""Seconds the store or Redis may take to answer a health check."""

ENDPOINT_AGE_MAX_S = 30.0
"""Age up to which a look at a model's endpoint is told again instead of connecting anew."""

CENSUS_AGE_MAX_S = 30.0
"""Age up to which counts over the whole store are told again instead of made anew."""

CENSUS_PAUSE = 50
"""They are also told again for so many times as long as making them took: 2 % of the time."""

REDIS_TIMEOUT_S = 0.25
"""Seconds a Redis may take before calls go on, and are counted, without it."""

RATE_WINDOWS_MAX = 100_000
"""Callers, users and addresses whose calls one process counts at a time."""

REDIS_PAUSE_S = 2.0
"""Seconds until a Redis that was away is asked again."""

CACHE_BYTES_MAX = 64 * 1024 * 1024
"""Bytes of cached answers and vectors in one process."""

CACHE_TTL_S = 3_600.0
"""Longest time an answer or a vector is cached, in seconds."""

CACHED_ANSWER_BYTES_MAX = 1024 * 1024
"""Bytes of the largest answer of a search that is cached."""

CACHED_ENTITIES_MAX = 8
"""Users, agents, apps and runs of the widest search whose answer is cached."""

CACHE_CLAIM_S = 5.0
"""Longest time one process waits for a vector that another one is making, in seconds."""

CACHE_WRITES_MAX = 256
"""Writes to the cache under way in one process; beyond, what was made is not cached."""

QUEUE_AGE_MAX_S = 300.0
"""How long a job may be due, in seconds, before the queue counts as degraded."""

WRITE_BATCH_MAX = 256
"""Writes committed together by the group commit."""

WRITE_QUEUE_MAX = 10_000
"""Writes waiting for the writer thread."""

READ_CONNECTIONS_MAX = 4
"""Pooled read connections of one SQLite store."""

BUSY_TIMEOUT_S = 30.0
"""Seconds to wait for another process that is writing the same database."""

VIEW_BYTES_MAX = 512 * 1024 * 1024
"""Bytes of working sets (vectors, postings, texts) the embedded index keeps warm."""

VIEW_ROWS_MAX = 400_000
"""Memories of one working set; each takes about 5 kB."""

CANDIDATES_NEAR = 128
"""Memories an external index is asked for by vector, at least."""

CANDIDATES_PER_WORD = 256
"""Memories an external index is asked for by each word of a question."""

CANDIDATES_KEPT = 96
"""Memories an external index named that are fetched from the records, at least."""

EXACT_ROWS = 500
"""Memories of an entity up to which it is ranked from the records, without asking an external
index; `exact_rows` of the index. The candidates of a larger one no longer bring all it has."""

NAMES_BYTES_MAX = 4_194_304
"""Bytes of the names of speakers that a search through an external index keeps, of entities above
`exact_rows`."""

INDEX_LAG_ROWS_MAX = 1_000
"""Changes of an entity since an external index was fed that are ranked beside its candidates."""

INDEX_PAUSE_S = 1.0
"""Seconds until an external index that did not answer is asked again."""

INDEX_POLL_S = 2.0
"""Longest pause before the feeder of an external index looks for other processes' writes."""

INDEX_BATCH = 256
"""Memories in one write to an external index."""

INDEX_LEASE_S = 30.0
"""Seconds for which one process feeds an external index without saying that it is alive."""

INDEX_LAST_S = 5.0
"""Seconds a process that ends takes to feed an external index with what it wrote."""

INDEX_BACKOFF_MAX_S = 60.0
"""Longest pause between two tries to feed an external index that is away, in seconds."""

SUBJECT_KEYS_MAX = 100_000
"""Subjects whose data keys a process keeps in memory where texts are sealed."""

OUTBOX_ROWS_KEPT = 200_000
"""Rows of the change log kept for incremental refresh of working sets."""

CLIENT_TIMEOUT_S = 160.0
"""Seconds a client waits for a server's answer: longer than the server lets a request take."""

CLIENT_CONNECT_S = 10.0
"""Seconds a client waits for a connection to a server."""

CLIENT_RETRIES_MAX = 3
"""Times a client repeats a call, if it may be repeated."""

CLIENT_BACKOFF_S = 0.25
"""Seconds before the first repetition of a call by a client; doubles with each further one."""

CLIENT_PAUSE_MAX_S = 60.0
"""Longest pause a server may ask a client for before the error is raised instead, in seconds."""

CLIENT_CONNECTIONS_MAX = 64
"""Connections of one client open at once."""

CLIENT_WAIT_S = 30.0
"""Longest time one request of a client's `wait` takes, in seconds; longer waits take several."""

PASSWORD_CHARS_MIN = 8
"""Characters of the shortest password."""

PASSWORD_CHARS_MAX = 1_024
"""Characters of the longest password."""

PASSWORDS_AT_ONCE_MAX = 2
"""Passwords compared at once by one process: each takes 32 MiB and some tenths of a second."""

SESSIONS_PER_ACCOUNT_MAX = 100
"""Places where one account is signed in; the oldest is signed out first."""

ACCESS_TOKEN_S = 1_800
"""Seconds an account's access token is good for."""

REFRESH_TOKEN_S = 2_592_000
"""Seconds an account's refresh token is good for."""

SIGN_UPS_PER_MINUTE_MAX = 5
"""Registrations tried a minute from one address."""

SIGN_INS_PER_MINUTE_MAX = 10
"""Passwords tried a minute from one address."""

REFRESHES_PER_MINUTE_MAX = 20
"""Refresh tokens tried a minute from one address."""

ERASURE_BATCH = 500
"""Rows of a subject that one transaction of its erasure takes away."""

ERASURE_INDEX_WAIT_S = 60.0
"""Seconds an erasure waits until an external index has taken the deletions."""

ERASURE_POLL_S = 5.0
"""Seconds between two looks for erasures whose process died."""

ERASURE_QUIET_S = 30.0
"""Seconds from the beginning of an erasure after which another process goes on with it."""

RETENTION_POLL_S = 3_600.0
"""Seconds between two looks for what is older than the rules of retention allow."""

KEY_USE_S = 300.0
"""Seconds between two writes of when a key was used last, by one process."""

REQUESTS_KEPT = 1_000
"""Rows of the log of requests that one server process keeps."""

CLOSE_WAIT_S = 10.0
"""Seconds that `close` without an event loop waits for what was noted in memory to be written."""

SPARED_FLUSH_S = 60.0
"""Seconds that what caches spared is summed in memory before it is a row of the ledger."""

SPARED_ROWS_MAX = 1_000
"""Sums of it that are kept in memory; then they are written."""

AUDIT_SUBJECTS_MAX = 32
"""Whose memories one act is about: rows of the audit that it leaves at most."""

AUDIT_BUFFERED_MAX = 10_000
"""Rows of the audit that wait to be written; whoever leaves one more waits for them."""

AUDIT_FLUSH_S = 1.0
"""Seconds between two writes of what was read and denied; as much is lost with a killed process."""

AUDIT_BATCH_ROWS = 500
"""Rows of the audit in one transaction."""

AUDIT_PAGE_ROWS = 1_000
"""Rows of the audit that are read at once while the chain is verified or exported."""

AUDIT_NEIGHBOURS = 64
"""Rows around one that does not fit among which its place is looked for, to tell what happened."""

AUDIT_STRANGERS_MAX = 1_000
"""Addresses without a credential that the audit tells apart in one write."""

AUDIT_NAMES_MAX = 100_000
"""Users, agents, apps and runs of a project whose names are looked up to tell the audit's rows."""

ANSWER_TOKENS_MAX = 16_384
"""Tokens of a language model's answer where budgets apply, unless its configuration says fewer."""

BUDGETS_PER_PROJECT_MAX = 1_000
"""Budgets of one project: all are read at once."""

BUDGET_SUBJECTS_MAX = 100
"""Users, or keys, told of one budget that is for each of them."""
