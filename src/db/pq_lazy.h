/* db/pq_lazy.h: libpq, loaded at the first call. Inside db/ only, instead of <libpq-fe.h>.
 *
 * It draws a dozen libraries (Kerberos, LDAP, another TLS) into every process, and most have their rows in SQLite or
 * no database at all. A call of any function of the list goes through a table that pq_lazy_load fills; a new function is a
 * row here and in the list below. */
#pragma once
#include <libpq-fe.h>

#define PQ_FUNCTIONS(X) \
    X(PQclear) \
    X(PQcmdStatus) \
    X(PQcmdTuples) \
    X(PQconnectdbParams) \
    X(PQconninfoFree) \
    X(PQconninfoParse) \
    X(PQenterPipelineMode) \
    X(PQerrorMessage) \
    X(PQescapeIdentifier) \
    X(PQexec) \
    X(PQexecParams) \
    X(PQexecPrepared) \
    X(PQexitPipelineMode) \
    X(PQfinish) \
    X(PQfname) \
    X(PQfreemem) \
    X(PQftype) \
    X(PQgetResult) \
    X(PQgetisnull) \
    X(PQgetlength) \
    X(PQgetvalue) \
    X(PQisthreadsafe) \
    X(PQnfields) \
    X(PQntuples) \
    X(PQpipelineSync) \
    X(PQresultErrorField) \
    X(PQresultStatus) \
    X(PQsendPrepare) \
    X(PQsendQuery) \
    X(PQsendQueryParams) \
    X(PQsendQueryPrepared) \
    X(PQserverVersion) \
    X(PQsetNoticeProcessor) \
    X(PQstatus) \
    X(PQtransactionStatus) \
    X(PQuser)

struct pq_lazy {
#define X(fn) __typeof__(&fn) fn##_;
    PQ_FUNCTIONS(X)
#undef X
};
extern struct pq_lazy pq_lazy;

/* Loads the library; later calls do nothing. Any thread. Ends the program with a line where it is not installed. */
void pq_lazy_load(void);

#define PQclear pq_lazy.PQclear_
#define PQcmdStatus pq_lazy.PQcmdStatus_
#define PQcmdTuples pq_lazy.PQcmdTuples_
#define PQconnectdbParams pq_lazy.PQconnectdbParams_
#define PQconninfoFree pq_lazy.PQconninfoFree_
#define PQconninfoParse pq_lazy.PQconninfoParse_
#define PQenterPipelineMode pq_lazy.PQenterPipelineMode_
#define PQerrorMessage pq_lazy.PQerrorMessage_
#define PQescapeIdentifier pq_lazy.PQescapeIdentifier_
#define PQexec pq_lazy.PQexec_
#define PQexecParams pq_lazy.PQexecParams_
#define PQexecPrepared pq_lazy.PQexecPrepared_
#define PQexitPipelineMode pq_lazy.PQexitPipelineMode_
#define PQfinish pq_lazy.PQfinish_
#define PQfname pq_lazy.PQfname_
#define PQfreemem pq_lazy.PQfreemem_
#define PQftype pq_lazy.PQftype_
#define PQgetResult pq_lazy.PQgetResult_
#define PQgetisnull pq_lazy.PQgetisnull_
#define PQgetlength pq_lazy.PQgetlength_
#define PQgetvalue pq_lazy.PQgetvalue_
#define PQisthreadsafe pq_lazy.PQisthreadsafe_
#define PQnfields pq_lazy.PQnfields_
#define PQntuples pq_lazy.PQntuples_
#define PQpipelineSync pq_lazy.PQpipelineSync_
#define PQresultErrorField pq_lazy.PQresultErrorField_
#define PQresultStatus pq_lazy.PQresultStatus_
#define PQsendPrepare pq_lazy.PQsendPrepare_
#define PQsendQuery pq_lazy.PQsendQuery_
#define PQsendQueryParams pq_lazy.PQsendQueryParams_
#define PQsendQueryPrepared pq_lazy.PQsendQueryPrepared_
#define PQserverVersion pq_lazy.PQserverVersion_
#define PQsetNoticeProcessor pq_lazy.PQsetNoticeProcessor_
#define PQstatus pq_lazy.PQstatus_
#define PQtransactionStatus pq_lazy.PQtransactionStatus_
#define PQuser pq_lazy.PQuser_
