/* A make-believe CUDA device, for tests on machines that have none.
 *
 * Built as a shared library and named in LD_PRELOAD, it answers the CUDA
 * runtime calls (and the few driver and cuBLAS calls) that PyTorch's CUDA
 * build makes, so that PyTorch's own host code runs unchanged: its caching
 * allocator, its choice of attention kernel, the allocations of each operator.
 * No kernel runs: a launch is counted and forgotten, device addresses come
 * from a counter and nothing lies behind them, and what is copied back to the
 * host is zeros (but for small pieces that the host wrote itself).  Values are therefore meaningless; sizes, addresses, strides,
 * dtypes, choices and out-of-memory errors are PyTorch's own.
 *
 * Settings (environment), which environment.py makes from a device file:
 *   SAMATTN_DRY_BYTES     capacity of the device in bytes              (80 GiB)
 *   SAMATTN_DRY_CONTEXT   bytes taken before the first allocation      (0)
 *   SAMATTN_DRY_CC        compute capability, "8.0"                    (8.0)
 *   SAMATTN_DRY_SMS       multiprocessors                              (108)
 *   SAMATTN_DRY_THREADS   resident threads of a multiprocessor         (2048)
 *   SAMATTN_DRY_NAME      what the device is called
 *   SAMATTN_DRY_CUDNN_WORKSPACE  bytes a cuDNN convolution asks for    (0)
 *   SAMATTN_DRY_TRACE     1: name each runtime call on stderr
 *
 * build.py builds it. The soname lets it stand in for the driver's library,
 * too. LP64 only. */
#define _GNU_SOURCE
#include <cuda.h>
#include <cuda_runtime_api.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define API __attribute__((visibility("default")))
#define MIB ((size_t)1 << 20)
#define PAGE (2 * MIB)
#define BASE 0x200000000000ull
#define TRACE(...) do { if (tracing()) fprintf(stderr, "samattn dry: " __VA_ARGS__); } while (0)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread cudaError_t last = cudaSuccess;
static __thread int primary_on = 0, current = 0;
static unsigned long long next_address = BASE, next_handle = 0x1000;
static size_t in_use = 0;
static unsigned long long n_launch = 0, n_malloc = 0, n_free = 0;

static int tracing(void) {
    static int t = -1;
    if (t < 0) { const char *s = getenv("SAMATTN_DRY_TRACE"); t = s && *s == '1'; }
    return t;
}
static size_t number(const char *name, size_t otherwise) {
    const char *s = getenv(name);
    return s && *s ? strtoull(s, NULL, 10) : otherwise;
}
static size_t capacity(void) { return number("SAMATTN_DRY_BYTES", (size_t)80 << 30); }
static size_t taken(void) { return in_use + number("SAMATTN_DRY_CONTEXT", 0); }
static int cc(int minor) {
    const char *s = getenv("SAMATTN_DRY_CC");
    int a = 8, b = 0;
    if (s) sscanf(s, "%d.%d", &a, &b);
    return minor ? b : a;
}
static const char *name(void) {
    const char *s = getenv("SAMATTN_DRY_NAME");
    return s && *s ? s : "dry device";
}
/* shared memory that a block may opt in to, in KiB: CUDA C++ Programming Guide, "Technical Specifications per
 * Compute Capability" */
static size_t shared_kib(void) {
    switch (10 * cc(0) + cc(1)) {
    case 75: return 64;
    case 80: case 87: return 163;
    case 90: case 100: return 227;
    default: return 99;
    }
}
static void *handle(void) {
    return (void *)__atomic_fetch_add(&next_handle, 16, __ATOMIC_RELAXED);
}
static cudaError_t bad(cudaError_t e) { TRACE("error %d\n", (int)e); last = e; return e; }
static size_t pages(size_t n) { return (n + PAGE - 1) / PAGE * PAGE; }

/* --- what is allocated: address -> bytes, kept sorted by address --- */
typedef struct { unsigned long long at; size_t size; } piece;
static piece *pieces = NULL;
static size_t n_pieces = 0, room = 0;

static long where(unsigned long long at) { /* the piece that holds the address, or -1 */
    size_t lo = 0, hi = n_pieces;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (pieces[mid].at <= at) lo = mid + 1; else hi = mid;
    }
    if (lo && at < pieces[lo - 1].at + pieces[lo - 1].size) return (long)lo - 1;
    return -1;
}

API cudaError_t cudaMalloc(void **out, size_t size) {
    cudaError_t e = cudaSuccess;
    pthread_mutex_lock(&lock);
    primary_on = 1;
    n_malloc++;
    if (size == 0) { *out = NULL; goto end; }
    if (taken() + pages(size) > capacity()) { *out = NULL; e = cudaErrorMemoryAllocation; goto end; }
    if (n_pieces == room) {
        room = room ? 2 * room : 256;
        pieces = realloc(pieces, room * sizeof *pieces);
    }
    pieces[n_pieces].at = next_address;  /* the counter only grows: sorted */
    pieces[n_pieces++].size = size;
    *out = (void *)next_address;
    next_address += pages(size) + PAGE;
    in_use += pages(size);
end:
    pthread_mutex_unlock(&lock);
    TRACE("cudaMalloc %zu -> %p (%d), in use %zu\n", size, *out, (int)e, in_use);
    return e ? bad(e) : e;
}
API cudaError_t cudaFree(void *p) {
    cudaError_t e = cudaSuccess;
    if (!p) return e;
    pthread_mutex_lock(&lock);
    n_free++;
    long i = where((unsigned long long)p);
    if (i < 0 || pieces[i].at != (unsigned long long)p) e = cudaErrorInvalidValue;
    else {
        in_use -= pages(pieces[i].size);
        memmove(pieces + i, pieces + i + 1, (n_pieces - (size_t)i - 1) * sizeof *pieces);
        n_pieces--;
    }
    pthread_mutex_unlock(&lock);
    TRACE("cudaFree %p (%d)\n", p, (int)e);
    return e ? bad(e) : e;
}
API cudaError_t cudaMallocAsync(void **out, size_t size, cudaStream_t s) { (void)s; return cudaMalloc(out, size); }
API cudaError_t cudaFreeAsync(void *p, cudaStream_t s) { (void)s; return cudaFree(p); }
API cudaError_t cudaMemGetInfo(size_t *available, size_t *total) {
    size_t c = capacity(), t = taken();
    *available = c > t ? c - t : 0;
    *total = c;
    primary_on = 1;
    return cudaSuccess;
}
/* pinned host memory is remembered, so that is_pinned() is true of it */
static piece *pinned = NULL;
static size_t n_pinned = 0, pinned_room = 0;
static long pinned_at(const void *p, int start) {
    for (size_t i = 0; i < n_pinned; i++)
        if (start ? pinned[i].at == (unsigned long long)p : (unsigned long long)p - pinned[i].at < pinned[i].size) return (long)i;
    return -1;
}
API cudaError_t cudaHostAlloc(void **out, size_t size, unsigned f) {
    (void)f;
    *out = aligned_alloc(4096, (size + 4095) / 4096 * 4096);
    pthread_mutex_lock(&lock);
    if (n_pinned == pinned_room) { pinned_room = pinned_room ? 2 * pinned_room : 64; pinned = realloc(pinned, pinned_room * sizeof *pinned); }
    pinned[n_pinned].at = (unsigned long long)*out;
    pinned[n_pinned++].size = size ? size : 1;
    pthread_mutex_unlock(&lock);
    return cudaSuccess;
}
API cudaError_t cudaFreeHost(void *p) {
    pthread_mutex_lock(&lock);
    long i = pinned_at(p, 1);
    if (i >= 0) pinned[i] = pinned[--n_pinned];
    pthread_mutex_unlock(&lock);
    free(p);
    return cudaSuccess;
}
API cudaError_t cudaHostRegister(void *p, size_t n, unsigned f) { (void)p; (void)n; (void)f; return cudaSuccess; }
API cudaError_t cudaHostUnregister(void *p) { (void)p; return cudaSuccess; }
API cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *a, const void *p) {
    memset(a, 0, sizeof *a);
    int ours = (unsigned long long)p >= BASE && (unsigned long long)p < next_address;
    pthread_mutex_lock(&lock);
    int host = !ours && pinned_at(p, 0) >= 0;
    pthread_mutex_unlock(&lock);
    a->type = ours ? cudaMemoryTypeDevice : host ? cudaMemoryTypeHost : cudaMemoryTypeUnregistered;
    a->device = ours || host ? 0 : -1;
    a->devicePointer = ours || host ? (void *)p : NULL;
    a->hostPointer = ours ? NULL : (void *)p;
    return cudaSuccess;
}
/* What the host itself writes in small pieces (counts, shapes, bucket numbers) can be read back: the
 * addresses are backed by pages that are made when first written, and copies of at most SMALL bytes are done. */
#define SMALL ((size_t)64 << 10)
#define BACKED ((size_t)8 << 40)
static int backed(const void *p, size_t n) {
    static int state = 0;
    if (!state) {
        pthread_mutex_lock(&lock);
        if (!state) {
            void *got = mmap((void *)BASE, BACKED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
            state = got == (void *)BASE ? 1 : -1;
        }
        pthread_mutex_unlock(&lock);
        TRACE("backing %s\n", state > 0 ? "on" : "off");
    }
    return state > 0 && (unsigned long long)p >= BASE && (unsigned long long)p + n <= BASE + BACKED;
}
static int on_device(const void *p) { return (unsigned long long)p >= BASE && (unsigned long long)p < next_address; }
static cudaError_t copied(void *dst, const void *src, size_t n) {
    int to = on_device(dst), from = on_device(src);
    if (!to && !from) memcpy(dst, src, n);
    else if (!to) { if (backed(src, n)) memcpy(dst, src, n); else memset(dst, 0, n); }
    else if (n <= SMALL && backed(dst, n) && (!from || backed(src, n))) memmove(dst, src, n);
    return cudaSuccess;
}
static cudaError_t filled(void *dst, int v, size_t n) {
    if (on_device(dst) && n <= SMALL && backed(dst, n)) memset(dst, v, n);
    return cudaSuccess;
}
API cudaError_t cudaMemcpy(void *d, const void *s, size_t n, enum cudaMemcpyKind k) { (void)k; return copied(d, s, n); }
API cudaError_t cudaMemcpyAsync(void *d, const void *s, size_t n, enum cudaMemcpyKind k, cudaStream_t t) { (void)k; (void)t; return copied(d, s, n); }
API cudaError_t cudaMemcpyPeerAsync(void *d, int a, const void *s, int b, size_t n, cudaStream_t t) { (void)a; (void)b; (void)t; return copied(d, s, n); }
API cudaError_t cudaMemcpy2DAsync(void *d, size_t dp, const void *s, size_t sp, size_t w, size_t h, enum cudaMemcpyKind k, cudaStream_t t) {
    (void)k; (void)t;
    for (size_t i = 0; i < h; i++) copied((char *)d + i * dp, (const char *)s + i * sp, w);
    return cudaSuccess;
}
API cudaError_t cudaMemset(void *d, int v, size_t n) { return filled(d, v, n); }
API cudaError_t cudaMemsetAsync(void *d, int v, size_t n, cudaStream_t t) { (void)t; return filled(d, v, n); }
API cudaError_t cudaMemcpyToSymbol(const void *y, const void *s, size_t n, size_t o, enum cudaMemcpyKind k) { (void)y; (void)s; (void)n; (void)o; (void)k; return cudaSuccess; }
API cudaError_t cudaGetSymbolAddress(void **p, const void *y) { (void)y; *p = (void *)BASE; return cudaSuccess; }

/* --- the device --- */
API cudaError_t cudaGetDeviceCount(int *n) { *n = 1; return cudaSuccess; }
API cudaError_t cudaGetDevice(int *d) { *d = current; return cudaSuccess; }
API cudaError_t cudaSetDevice(int d) { if (d != 0) return bad(cudaErrorInvalidDevice); current = d; primary_on = 1; return cudaSuccess; }
API cudaError_t cudaDriverGetVersion(int *v) { *v = CUDART_VERSION; return cudaSuccess; }
API cudaError_t cudaRuntimeGetVersion(int *v) { *v = CUDART_VERSION; return cudaSuccess; }
API cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int d) {
    if (d != 0) return bad(cudaErrorInvalidDevice);
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "%s", name());
    p->totalGlobalMem = capacity();
    p->major = cc(0);
    p->minor = cc(1);
    p->sharedMemPerBlock = 48 << 10;
    p->sharedMemPerBlockOptin = shared_kib() << 10;
    p->sharedMemPerMultiprocessor = p->sharedMemPerBlockOptin + (1 << 10);
    p->regsPerBlock = p->regsPerMultiprocessor = 65536;
    p->warpSize = 32;
    p->memPitch = 0x7fffffff;
    p->maxThreadsPerBlock = 1024;
    p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024; p->maxThreadsDim[2] = 64;
    p->maxGridSize[0] = 0x7fffffff; p->maxGridSize[1] = p->maxGridSize[2] = 65535;
    p->totalConstMem = 65536;
    p->textureAlignment = 512;
    p->texturePitchAlignment = 32;
    p->multiProcessorCount = (int)number("SAMATTN_DRY_SMS", 108);
    p->maxThreadsPerMultiProcessor = (int)number("SAMATTN_DRY_THREADS", 2048);
    p->maxBlocksPerMultiProcessor = 32;
    p->l2CacheSize = 40 << 20;
    p->memoryBusWidth = 5120;
    p->asyncEngineCount = 3;
    p->concurrentKernels = p->unifiedAddressing = p->managedMemory = p->canMapHostMemory = 1;
    p->concurrentManagedAccess = p->computePreemptionSupported = p->cooperativeLaunch = 1;
    p->streamPrioritiesSupported = p->memoryPoolsSupported = 1;
    return cudaSuccess;
}
API cudaError_t cudaDeviceGetAttribute(int *v, enum cudaDeviceAttr a, int d) {
    (void)d;
    struct cudaDeviceProp p;
    cudaGetDeviceProperties(&p, 0);
    switch (a) {
    case cudaDevAttrComputeCapabilityMajor: *v = p.major; break;
    case cudaDevAttrComputeCapabilityMinor: *v = p.minor; break;
    case cudaDevAttrMultiProcessorCount: *v = p.multiProcessorCount; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *v = (int)p.sharedMemPerBlock; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *v = (int)p.sharedMemPerBlockOptin; break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *v = (int)p.sharedMemPerMultiprocessor; break;
    case cudaDevAttrMaxThreadsPerBlock: *v = 1024; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *v = p.maxThreadsPerMultiProcessor; break;
    case cudaDevAttrWarpSize: *v = 32; break;
    case cudaDevAttrMaxGridDimX: *v = 0x7fffffff; break;
    case cudaDevAttrMaxGridDimY: case cudaDevAttrMaxGridDimZ: *v = 65535; break;
    case cudaDevAttrMaxRegistersPerBlock: case cudaDevAttrMaxRegistersPerMultiprocessor: *v = 65536; break;
    case cudaDevAttrClockRate: *v = 1410000; break;
    case cudaDevAttrMemoryClockRate: *v = 1215000; break;
    case cudaDevAttrGlobalMemoryBusWidth: *v = p.memoryBusWidth; break;
    case cudaDevAttrL2CacheSize: *v = p.l2CacheSize; break;
    default: *v = 0; TRACE("attribute %d -> 0\n", (int)a);
    }
    return cudaSuccess;
}
API cudaError_t cudaDeviceGetPCIBusId(char *s, int n, int d) { (void)d; snprintf(s, (size_t)n, "0000:00:00.0"); return cudaSuccess; }
API cudaError_t cudaDeviceCanAccessPeer(int *v, int a, int b) { (void)a; (void)b; *v = 0; return cudaSuccess; }
API cudaError_t cudaDeviceEnablePeerAccess(int a, unsigned f) { (void)a; (void)f; return cudaSuccess; }
API cudaError_t cudaDeviceGetStreamPriorityRange(int *lo, int *hi) { if (lo) *lo = 0; if (hi) *hi = -5; return cudaSuccess; }
API cudaError_t cudaDeviceSynchronize(void) { return cudaSuccess; }
API cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *m, int d) { (void)d; *m = handle(); return cudaSuccess; }
API cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t m, enum cudaMemPoolAttr a, void *v) { (void)m; (void)a; *(unsigned long long *)v = 0; return cudaSuccess; }
API cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t m, enum cudaMemPoolAttr a, void *v) { (void)m; (void)a; (void)v; return cudaSuccess; }
API cudaError_t cudaMemPoolTrimTo(cudaMemPool_t m, size_t n) { (void)m; (void)n; return cudaSuccess; }
API cudaError_t cudaMemPoolSetAccess(cudaMemPool_t m, const struct cudaMemAccessDesc *d, size_t n) { (void)m; (void)d; (void)n; return cudaSuccess; }

/* --- errors --- */
API cudaError_t cudaGetLastError(void) { cudaError_t e = last; last = cudaSuccess; return e; }
API cudaError_t cudaPeekAtLastError(void) { return last; }
API const char *cudaGetErrorName(cudaError_t e) {
    switch (e) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration: return "cudaErrorInvalidConfiguration";
    default: return "cudaError";
    }
}
API const char *cudaGetErrorString(cudaError_t e) {
    static __thread char text[48];
    if (e == cudaSuccess || e == cudaErrorMemoryAllocation) return e == cudaSuccess ? "no error" : "out of memory";
    if (e == cudaErrorInvalidConfiguration) return "invalid configuration argument (a grid or block is larger than CUDA launches)";
    snprintf(text, sizeof text, "error %d of the dry device", (int)e);
    return text;
}

/* --- streams and events: everything is done at once --- */
API cudaError_t cudaStreamCreate(cudaStream_t *s) { *s = handle(); return cudaSuccess; }
API cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned f) { (void)f; *s = handle(); return cudaSuccess; }
API cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned f, int p) { (void)f; (void)p; *s = handle(); return cudaSuccess; }
API cudaError_t cudaStreamDestroy(cudaStream_t s) { (void)s; return cudaSuccess; }
API cudaError_t cudaStreamGetPriority(cudaStream_t s, int *p) { (void)s; *p = 0; return cudaSuccess; }
API cudaError_t cudaStreamQuery(cudaStream_t s) { (void)s; return cudaSuccess; }
API cudaError_t cudaStreamSynchronize(cudaStream_t s) { (void)s; return cudaSuccess; }
API cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned f) { (void)s; (void)e; (void)f; return cudaSuccess; }
/* graphs: a capture is remembered by its stream (one at a time; streams that join it are not followed), and a graph has one node */
#if CUDART_VERSION < 12030
typedef void cudaGraphEdgeData;
#endif
static cudaStream_t capturing = NULL;
static unsigned long long n_capture = 0, n_graph_launch = 0;
static int captured(cudaStream_t s) { return s && s == capturing; }
API cudaError_t cudaStreamBeginCapture(cudaStream_t s, enum cudaStreamCaptureMode m) { (void)m; capturing = s; n_capture++; TRACE("cudaStreamBeginCapture\n"); return cudaSuccess; }
API cudaError_t cudaStreamBeginCaptureToGraph(cudaStream_t s, cudaGraph_t g, const cudaGraphNode_t *d, const cudaGraphEdgeData *e, size_t n, enum cudaStreamCaptureMode m) { (void)g; (void)d; (void)e; (void)n; return cudaStreamBeginCapture(s, m); }
API cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g) { (void)s; capturing = NULL; if (g) *g = handle(); TRACE("cudaStreamEndCapture\n"); return cudaSuccess; }
API cudaError_t cudaGraphCreate(cudaGraph_t *g, unsigned f) { (void)f; *g = handle(); return cudaSuccess; }
API cudaError_t cudaGraphDestroy(cudaGraph_t g) { (void)g; return cudaSuccess; }
API cudaError_t cudaGraphExecDestroy(cudaGraphExec_t g) { (void)g; return cudaSuccess; }
#undef cudaGraphInstantiate
API cudaError_t cudaGraphInstantiate(cudaGraphExec_t *e, cudaGraph_t g, unsigned long long f) { (void)g; (void)f; *e = handle(); return cudaSuccess; }
API cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *e, cudaGraph_t g, unsigned long long f) { (void)g; (void)f; *e = handle(); return cudaSuccess; }
API cudaError_t cudaGraphLaunch(cudaGraphExec_t e, cudaStream_t s) { (void)e; (void)s; n_graph_launch++; return cudaSuccess; }
API cudaError_t cudaGraphUpload(cudaGraphExec_t e, cudaStream_t s) { (void)e; (void)s; return cudaSuccess; }
API cudaError_t cudaGraphGetNodes(cudaGraph_t g, cudaGraphNode_t *n, size_t *k) { (void)g; if (n) *n = handle(); *k = 1; return cudaSuccess; }
API cudaError_t cudaGraphNodeGetType(cudaGraphNode_t n, enum cudaGraphNodeType *t) { (void)n; *t = cudaGraphNodeTypeKernel; return cudaSuccess; }
#if CUDART_VERSION >= 13000
API cudaError_t cudaGraphNodeGetDependencies(cudaGraphNode_t n, cudaGraphNode_t *d, cudaGraphEdgeData *e, size_t *k) { (void)n; (void)d; (void)e; *k = 0; return cudaSuccess; }
#endif
API cudaError_t cudaGraphAddEmptyNode(cudaGraphNode_t *n, cudaGraph_t g, const cudaGraphNode_t *d, size_t k) { (void)g; (void)d; (void)k; *n = handle(); return cudaSuccess; }
API cudaError_t cudaGraphDebugDotPrint(cudaGraph_t g, const char *p, unsigned f) { (void)g; (void)p; (void)f; return cudaSuccess; }
#if CUDART_VERSION < 13000
API cudaError_t cudaStreamUpdateCaptureDependencies(cudaStream_t s, cudaGraphNode_t *d, size_t n, unsigned f) { (void)s; (void)d; (void)n; (void)f; return cudaSuccess; }
#else
API cudaError_t cudaStreamUpdateCaptureDependencies(cudaStream_t s, cudaGraphNode_t *d, const cudaGraphEdgeData *e, size_t n, unsigned f) { (void)s; (void)d; (void)e; (void)n; (void)f; return cudaSuccess; }
#endif
API cudaError_t cudaStreamIsCapturing(cudaStream_t s, enum cudaStreamCaptureStatus *c) { *c = captured(s) ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone; return cudaSuccess; }
static cudaError_t capture_info(cudaStream_t s, enum cudaStreamCaptureStatus *c, unsigned long long *id, cudaGraph_t *g, const cudaGraphNode_t **d, const cudaGraphEdgeData **e, size_t *n) {
    static cudaGraphNode_t one = (cudaGraphNode_t)0x88;
    int on = captured(s);
    *c = on ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
    if (id) *id = on ? n_capture : 0;
    if (g) *g = on ? (cudaGraph_t)0x99 : NULL;
    if (d) *d = on ? &one : NULL;
    if (e) *e = NULL;
    if (n) *n = on;
    return cudaSuccess;
}
#if CUDART_VERSION < 13000
API cudaError_t cudaStreamGetCaptureInfo_v2(cudaStream_t s, enum cudaStreamCaptureStatus *c, unsigned long long *id, cudaGraph_t *g, const cudaGraphNode_t **d, size_t *n) { return capture_info(s, c, id, g, d, NULL, n); }
#else
API cudaError_t cudaStreamGetCaptureInfo(cudaStream_t s, enum cudaStreamCaptureStatus *c, unsigned long long *id, cudaGraph_t *g, const cudaGraphNode_t **d, const cudaGraphEdgeData **e, size_t *n) { return capture_info(s, c, id, g, d, e, n); }
#endif
API cudaError_t cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode *m) { (void)m; return cudaSuccess; }
API cudaError_t cudaEventCreate(cudaEvent_t *e) { *e = handle(); return cudaSuccess; }
API cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned f) { (void)f; *e = handle(); return cudaSuccess; }
API cudaError_t cudaEventDestroy(cudaEvent_t e) { (void)e; return cudaSuccess; }
API cudaError_t cudaEventElapsedTime(float *t, cudaEvent_t a, cudaEvent_t b) { (void)a; (void)b; *t = 1; return cudaSuccess; }
API cudaError_t cudaEventQuery(cudaEvent_t e) { (void)e; return cudaSuccess; }
API cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) { (void)e; (void)s; return cudaSuccess; }
API cudaError_t cudaEventRecordWithFlags(cudaEvent_t e, cudaStream_t s, unsigned f) { (void)e; (void)s; (void)f; return cudaSuccess; }
API cudaError_t cudaEventSynchronize(cudaEvent_t e) { (void)e; return cudaSuccess; }

/* --- kernels: counted, not run --- */
static __thread struct { dim3 grid, block; size_t shared; void *stream; } config;
API unsigned __cudaPushCallConfiguration(dim3 g, dim3 b, size_t m, struct CUstream_st *s) { config.grid = g; config.block = b; config.shared = m; config.stream = s; return 0; }
API cudaError_t __cudaPopCallConfiguration(dim3 *g, dim3 *b, size_t *m, void *s) { *g = config.grid; *b = config.block; *m = config.shared; *(void **)s = config.stream; return cudaSuccess; }
API cudaError_t __cudaGetKernel(cudaKernel_t *k, const void *f) { *k = (cudaKernel_t)f; return cudaSuccess; }
static cudaError_t launched(dim3 g, dim3 b) {
    __atomic_fetch_add(&n_launch, 1, __ATOMIC_RELAXED);
    /* what a real launch refuses: an empty grid, or one out of bounds */
    if (!g.x || !g.y || !g.z || !b.x || !b.y || !b.z || g.x > 0x7fffffffu || g.y > 65535 || g.z > 65535 || (unsigned long long)b.x * b.y * b.z > 1024) {
        TRACE("launch refused: grid %u %u %u block %u %u %u\n", g.x, g.y, g.z, b.x, b.y, b.z);
        return bad(cudaErrorInvalidConfiguration);
    }
    return cudaSuccess;
}
API cudaError_t __cudaLaunchKernel(cudaKernel_t k, dim3 g, dim3 b, void **a, size_t m, cudaStream_t s) { (void)k; (void)a; (void)m; (void)s; return launched(g, b); }
API cudaError_t cudaLaunchKernel(const void *f, dim3 g, dim3 b, void **a, size_t m, cudaStream_t s) { (void)f; (void)a; (void)m; (void)s; return launched(g, b); }
API cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *c, const void *f, void **a) { (void)f; (void)a; return launched(c->gridDim, c->blockDim); }
API cudaError_t cudaLaunchHostFunc(cudaStream_t s, cudaHostFn_t f, void *u) { (void)s; f(u); return cudaSuccess; }
API cudaError_t cudaFuncSetAttribute(const void *f, enum cudaFuncAttribute a, int v) { (void)f; (void)a; (void)v; return cudaSuccess; }
/* the architecture that torch has kernels of for this device: cub looks its settings up by it */
static int kernels(void) {
    static const int built[] = { 120, 100, 90, 86, 80, 75, 70, 60, 50 };
    int own = 10 * cc(0) + cc(1);
    for (size_t i = 0; i < sizeof built / sizeof *built; i++)
        if (built[i] <= own) return built[i];
    return own;
}
API cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *a, const void *f) {
    (void)f;
    memset(a, 0, sizeof *a);
    a->binaryVersion = a->ptxVersion = kernels();
    a->maxThreadsPerBlock = 1024;
    a->numRegs = 32;
    return cudaSuccess;
}
API cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *n, const void *f, int b, size_t m, unsigned g) { (void)f; (void)b; (void)m; (void)g; *n = 1; return cudaSuccess; }
API cudaError_t cudaProfilerStart(void) { return cudaSuccess; }
API cudaError_t cudaProfilerStop(void) { return cudaSuccess; }

/* --- the driver: contexts, and virtual memory for expandable segments --- */
API CUresult cuInit(unsigned f) { (void)f; return CUDA_SUCCESS; }
API CUresult cuDeviceGet(CUdevice *d, int i) { *d = i; return CUDA_SUCCESS; }
API CUresult cuDeviceGetAttribute(int *v, CUdevice_attribute a, CUdevice d) {
    /* the runtime's attribute numbers are the driver's */
    if (a == CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED) { *v = 1; return CUDA_SUCCESS; }
    cudaDeviceGetAttribute(v, (enum cudaDeviceAttr)a, d);
    return CUDA_SUCCESS;
}
API CUresult cuDevicePrimaryCtxGetState(CUdevice d, unsigned *f, int *on) { (void)d; if (f) *f = 0; *on = primary_on; return CUDA_SUCCESS; }
API CUresult cuDevicePrimaryCtxRetain(CUcontext *c, CUdevice d) { (void)d; *c = (CUcontext)0x77; return CUDA_SUCCESS; }
API CUresult cuCtxGetCurrent(CUcontext *c) { *c = primary_on ? (CUcontext)0x77 : NULL; return CUDA_SUCCESS; }
API CUresult cuCtxSetCurrent(CUcontext c) { (void)c; primary_on = 1; return CUDA_SUCCESS; }
API CUresult cuGetErrorString(CUresult e, const char **s) { *s = e == CUDA_ERROR_OUT_OF_MEMORY ? "out of memory" : "error of the dry device's driver"; return CUDA_SUCCESS; }
API CUresult cuPointerGetAttribute(void *v, CUpointer_attribute a, CUdeviceptr p) {
    if (a == CU_POINTER_ATTRIBUTE_DEVICE_POINTER) *(CUdeviceptr *)v = p;
    else if (a == CU_POINTER_ATTRIBUTE_MEMORY_TYPE) *(unsigned *)v = CU_MEMORYTYPE_DEVICE;
    else *(int *)v = 0;
    return CUDA_SUCCESS;
}
API CUresult cuMemGetAddressRange(CUdeviceptr *b, size_t *n, CUdeviceptr p) {
    pthread_mutex_lock(&lock);
    long i = where(p);
    if (i >= 0) { if (b) *b = pieces[i].at; if (n) *n = pieces[i].size; }
    pthread_mutex_unlock(&lock);
    return i >= 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
API CUresult cuMemGetAllocationGranularity(size_t *g, const CUmemAllocationProp *p, CUmemAllocationGranularity_flags o) { (void)p; (void)o; *g = PAGE; return CUDA_SUCCESS; }
API CUresult cuMemAddressReserve(CUdeviceptr *p, size_t n, size_t al, CUdeviceptr at, unsigned long long f) {
    (void)al; (void)at; (void)f;
    pthread_mutex_lock(&lock);
    *p = next_address;
    next_address += pages(n) + PAGE;
    pthread_mutex_unlock(&lock);
    TRACE("cuMemAddressReserve %zu\n", n);
    return CUDA_SUCCESS;
}
API CUresult cuMemAddressFree(CUdeviceptr p, size_t n) { (void)p; (void)n; return CUDA_SUCCESS; }
API CUresult cuMemCreate(CUmemGenericAllocationHandle *h, size_t n, const CUmemAllocationProp *p, unsigned long long f) {
    (void)p; (void)f;
    CUresult e = CUDA_SUCCESS;
    pthread_mutex_lock(&lock);
    if (taken() + pages(n) > capacity()) e = CUDA_ERROR_OUT_OF_MEMORY;
    else {
        size_t *box = malloc(sizeof *box);  /* the handle remembers its size */
        *box = pages(n);
        in_use += *box;
        *h = (CUmemGenericAllocationHandle)box;
    }
    pthread_mutex_unlock(&lock);
    TRACE("cuMemCreate %zu (%d)\n", n, (int)e);
    return e;
}
API CUresult cuMemRelease(CUmemGenericAllocationHandle h) {
    pthread_mutex_lock(&lock);
    in_use -= *(size_t *)h;
    free((void *)h);
    pthread_mutex_unlock(&lock);
    return CUDA_SUCCESS;
}
API CUresult cuMemMap(CUdeviceptr p, size_t n, size_t o, CUmemGenericAllocationHandle h, unsigned long long f) { (void)p; (void)n; (void)o; (void)h; (void)f; return CUDA_SUCCESS; }
API CUresult cuMemUnmap(CUdeviceptr p, size_t n) { (void)p; (void)n; return CUDA_SUCCESS; }
API CUresult cuMemSetAccess(CUdeviceptr p, size_t n, const CUmemAccessDesc *d, size_t k) { (void)p; (void)n; (void)d; (void)k; return CUDA_SUCCESS; }
static CUresult refused(void) { TRACE("a driver call that the stub refuses\n"); return CUDA_ERROR_NOT_SUPPORTED; }
#define REFUSE(name) __asm__(".globl " #name "\n.set " #name ", refused_driver_call\n");
API CUresult refused_driver_call(void) { return refused(); }
REFUSE(cuLinkAddData_v2) REFUSE(cuLinkComplete) REFUSE(cuLinkCreate_v2) REFUSE(cuTensorMapEncodeTiled) REFUSE(cuTensorMapEncodeIm2col)
/* torch 2.6 looks these up by name before it says that memory ran out, and in expandable segments; it calls none of them */
REFUSE(cuMemExportToShareableHandle) REFUSE(cuMemImportFromShareableHandle) REFUSE(cuMemsetD32Async) REFUSE(cuStreamWriteValue32)
REFUSE(cuMulticastCreate) REFUSE(cuMulticastAddDevice) REFUSE(cuMulticastBindMem)

/* --- modules that are compiled at run time (triton's cubins, NVRTC's): loaded by name, never run --- */
static unsigned long long n_module = 0, n_driver_launch = 0;
static CUresult module(CUmodule *m) { *m = handle(); __atomic_fetch_add(&n_module, 1, __ATOMIC_RELAXED); return CUDA_SUCCESS; }
API CUresult cuModuleLoad(CUmodule *m, const char *f) { TRACE("cuModuleLoad %s\n", f); return module(m); }
API CUresult cuModuleLoadData(CUmodule *m, const void *d) { (void)d; TRACE("cuModuleLoadData\n"); return module(m); }
API CUresult cuModuleLoadDataEx(CUmodule *m, const void *d, unsigned n, CUjit_option *o, void **v) { (void)d; (void)n; (void)o; (void)v; TRACE("cuModuleLoadDataEx\n"); return module(m); }
API CUresult cuModuleUnload(CUmodule m) { (void)m; return CUDA_SUCCESS; }
API CUresult cuModuleGetFunction(CUfunction *f, CUmodule m, const char *name) { (void)m; *f = handle(); TRACE("cuModuleGetFunction %s\n", name); return CUDA_SUCCESS; }
API CUresult cuFuncGetAttribute(int *v, CUfunction_attribute a, CUfunction f) {
    (void)f;
    *v = a == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK ? 1024 : a == CU_FUNC_ATTRIBUTE_NUM_REGS ? 32 :
         a == CU_FUNC_ATTRIBUTE_PTX_VERSION || a == CU_FUNC_ATTRIBUTE_BINARY_VERSION ? 10 * cc(0) + cc(1) : 0; /* no spills */
    return CUDA_SUCCESS;
}
API CUresult cuFuncSetAttribute(CUfunction f, CUfunction_attribute a, int v) { (void)f; (void)a; (void)v; return CUDA_SUCCESS; }
API CUresult cuFuncSetCacheConfig(CUfunction f, CUfunc_cache c) { (void)f; (void)c; return CUDA_SUCCESS; }
API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n, CUfunction f, int b, size_t m) { (void)f; (void)b; (void)m; *n = 1; return CUDA_SUCCESS; }
API CUresult cuOccupancyMaxActiveClusters(int *n, CUfunction f, const CUlaunchConfig *c) { (void)f; (void)c; *n = 1; return CUDA_SUCCESS; }
static CUresult driver_launched(unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz) {
    dim3 g = { gx, gy, gz }, b = { bx, by, bz };
    cudaError_t before = last;
    __atomic_fetch_add(&n_driver_launch, 1, __ATOMIC_RELAXED);
    if (launched(g, b)) { last = before; return CUDA_ERROR_INVALID_VALUE; }
    return CUDA_SUCCESS;
}
API CUresult cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned m, CUstream s, void **a, void **x) { (void)f; (void)m; (void)s; (void)a; (void)x; return driver_launched(gx, gy, gz, bx, by, bz); }
API CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned m, CUstream s, void **a) { (void)f; (void)m; (void)s; (void)a; return driver_launched(gx, gy, gz, bx, by, bz); }
API CUresult cuLaunchKernelEx(const CUlaunchConfig *c, CUfunction f, void **a, void **x) { (void)f; (void)a; (void)x; return driver_launched(c->gridDimX, c->gridDimY, c->gridDimZ, c->blockDimX, c->blockDimY, c->blockDimZ); }
API CUresult cuDeviceGetCount(int *n) { *n = 1; return CUDA_SUCCESS; }
API CUresult cuDeviceGetName(char *s, int n, CUdevice d) { (void)d; snprintf(s, (size_t)n, "%s", name()); return CUDA_SUCCESS; }
API CUresult cuDriverGetVersion(int *v) { *v = CUDART_VERSION; return CUDA_SUCCESS; }
API CUresult cuCtxGetDevice(CUdevice *d) { *d = current; return CUDA_SUCCESS; }
API CUresult cuCtxSetLimit(CUlimit l, size_t n) { (void)l; (void)n; return CUDA_SUCCESS; }
API CUresult cuCtxGetLimit(size_t *n, CUlimit l) { (void)l; *n = 1 << 20; return CUDA_SUCCESS; }
API CUresult cuMemAlloc(CUdeviceptr *p, size_t n) { return cudaMalloc((void **)p, n) ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS; }
API CUresult cuMemFree(CUdeviceptr p) { return cudaFree((void *)p) ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS; }
API CUresult cuMemcpyHtoD(CUdeviceptr d, const void *s, size_t n) { copied((void *)d, s, n); return CUDA_SUCCESS; }
API CUresult cuMemcpyDtoH(void *d, CUdeviceptr s, size_t n) { copied(d, (void *)s, n); return CUDA_SUCCESS; }
API CUresult cuMemcpyDtoD(CUdeviceptr d, CUdeviceptr s, size_t n) { copied((void *)d, (void *)s, n); return CUDA_SUCCESS; }
API CUresult cuCtxSynchronize(void) { return CUDA_SUCCESS; }
API CUresult cuStreamSynchronize(CUstream s) { (void)s; return CUDA_SUCCESS; }
API CUresult cuStreamIsCapturing(CUstream s, CUstreamCaptureStatus *c) { *c = captured(s) ? CU_STREAM_CAPTURE_STATUS_ACTIVE : CU_STREAM_CAPTURE_STATUS_NONE; return CUDA_SUCCESS; } /* Triton since torch 2.15 */

#define ENTRY(n) { #n, (void *)n }
static const struct { const char *name; void *f; } entries[] = {
    ENTRY(cuInit), ENTRY(cuDeviceGet), ENTRY(cuDeviceGetAttribute), ENTRY(cuDevicePrimaryCtxGetState),
    ENTRY(cuDevicePrimaryCtxRetain), ENTRY(cuCtxGetCurrent), ENTRY(cuCtxSetCurrent), ENTRY(cuGetErrorString),
    ENTRY(cuModuleLoadData), ENTRY(cuModuleGetFunction), ENTRY(cuModuleUnload), ENTRY(cuFuncGetAttribute), ENTRY(cuFuncSetAttribute),
    ENTRY(cuLaunchKernel), ENTRY(cuLaunchKernelEx), ENTRY(cuDeviceGetCount), ENTRY(cuDeviceGetName), ENTRY(cuDriverGetVersion), ENTRY(cuCtxGetDevice), ENTRY(cuPointerGetAttribute),
    { "cuMemGetAddressRange", (void *)cuMemGetAddressRange }, ENTRY(cuMemGetAllocationGranularity),
    ENTRY(cuMemAddressReserve), ENTRY(cuMemAddressFree), ENTRY(cuMemCreate), ENTRY(cuMemRelease),
    ENTRY(cuMemMap), ENTRY(cuMemUnmap), ENTRY(cuMemSetAccess),
};
API cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **f, unsigned v, unsigned long long g, enum cudaDriverEntryPointQueryResult *r) {
    (void)v; (void)g;
    *f = (void *)refused_driver_call;
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
        if (!strcmp(entries[i].name, name)) *f = entries[i].f;
    if (*f == (void *)refused_driver_call) TRACE("driver entry %s: refused if called\n", name);
    if (r) *r = cudaDriverEntryPointSuccess;
    return cudaSuccess;
}

/* --- cuBLAS: products are not computed (0 is its success too) --- */
API int cublasCreate_v2(void **h) { *h = handle(); return 0; }
API int cublasGetMathMode(void *h, int *m) { (void)h; *m = 0; return 0; }
API int cublasGetPointerMode_v2(void *h, int *m) { (void)h; *m = 0; return 0; }
API int cublasLtCreate(void **h) { *h = handle(); return 0; }
API int cublasLtMatmulDescCreate(void **d, int c, int s) { (void)c; (void)s; *d = handle(); return 0; }
API int cublasLtMatrixLayoutCreate(void **d, int t, unsigned long long r, unsigned long long c, long long l) { (void)t; (void)r; (void)c; (void)l; *d = handle(); return 0; }
API int cublasLtMatmulPreferenceCreate(void **d) { *d = handle(); return 0; }
API int cublasLtMatmulAlgoGetHeuristic(void *h, void *o, void *a, void *b, void *c, void *d, void *p, int want, void *out, int *n) {
    (void)h; (void)o; (void)a; (void)b; (void)c; (void)d; (void)p;
    memset(out, 0, 96 * (size_t)(want > 0));  /* one answer: any algorithm, no workspace */
    *n = want > 0;
    return 0;
}
API int blas_call(void) { return 0; }
#define BLAS(name) __asm__(".globl " #name "\n.set " #name ", blas_call\n");
BLAS(cublasDestroy_v2) BLAS(cublasSetMathMode) BLAS(cublasSetPointerMode_v2) BLAS(cublasSetSmCountTarget)
BLAS(cublasSetStream_v2) BLAS(cublasSetWorkspace_v2) BLAS(cublasGemmEx) BLAS(cublasGemmStridedBatchedEx)
BLAS(cublasSgemm_v2) BLAS(cublasDgemm_v2) BLAS(cublasSgemmEx) BLAS(cublasSgemmStridedBatched)
BLAS(cublasDgemmStridedBatched) BLAS(cublasSgemv_v2) BLAS(cublasDgemv_v2) BLAS(cublasSdot_v2) BLAS(cublasDdot_v2) BLAS(cublasDotEx)
BLAS(cublasLtMatmul) BLAS(cublasLtMatmulDescDestroy) BLAS(cublasLtMatmulDescSetAttribute)
BLAS(cublasLtMatmulPreferenceDestroy) BLAS(cublasLtMatmulPreferenceSetAttribute)
BLAS(cublasLtMatrixLayoutDestroy) BLAS(cublasLtMatrixLayoutSetAttribute)

/* --- cuDNN's convolutions, by its older interface, which torch calls if TORCH_CUDNN_V8_API_DISABLED=1:
 *     the first algorithm, with a workspace of SAMATTN_DRY_CUDNN_WORKSPACE bytes (0) --- */
API int cudnnCreate(void **h) { *h = handle(); return 0; }
API int cudnnGetStream(void *h, void **s) { (void)h; *s = NULL; return 0; }
API int cudnnCreateTensorDescriptor(void **d) { *d = handle(); return 0; }
API int cudnnCreateFilterDescriptor(void **d) { *d = handle(); return 0; }
API int cudnnCreateConvolutionDescriptor(void **d) { *d = handle(); return 0; }
static int algorithm(int want, int *n, void *out) {
    int *perf = out;  /* algo, status, time, memory (size_t), determinism, math type, reserved[3] */
    memset(perf, 0, 48);
    *(size_t *)(perf + 4) = number("SAMATTN_DRY_CUDNN_WORKSPACE", 0);
    *n = want > 0;
    return 0;
}
API int cudnnGetConvolutionForwardAlgorithm_v7(void *h, void *a, void *b, void *c, void *d, int want, int *n, void *out) { (void)h; (void)a; (void)b; (void)c; (void)d; return algorithm(want, n, out); }
API int cudnnGetConvolutionBackwardDataAlgorithm_v7(void *h, void *a, void *b, void *c, void *d, int want, int *n, void *out) { (void)h; (void)a; (void)b; (void)c; (void)d; return algorithm(want, n, out); }
API int cudnnGetConvolutionBackwardFilterAlgorithm_v7(void *h, void *a, void *b, void *c, void *d, int want, int *n, void *out) { (void)h; (void)a; (void)b; (void)c; (void)d; return algorithm(want, n, out); }
static int workspace(size_t *n) { *n = number("SAMATTN_DRY_CUDNN_WORKSPACE", 0); return 0; }
API int cudnnGetConvolutionForwardWorkspaceSize(void *h, void *a, void *b, void *c, void *d, int g, size_t *n) { (void)h; (void)a; (void)b; (void)c; (void)d; (void)g; return workspace(n); }
API int cudnnGetConvolutionBackwardDataWorkspaceSize(void *h, void *a, void *b, void *c, void *d, int g, size_t *n) { (void)h; (void)a; (void)b; (void)c; (void)d; (void)g; return workspace(n); }
API int cudnnGetConvolutionBackwardFilterWorkspaceSize(void *h, void *a, void *b, void *c, void *d, int g, size_t *n) { (void)h; (void)a; (void)b; (void)c; (void)d; (void)g; return workspace(n); }
BLAS(cudnnSetStream) BLAS(cudnnSetTensorNdDescriptor) BLAS(cudnnSetFilterNdDescriptor) BLAS(cudnnSetConvolutionNdDescriptor)
BLAS(cudnnSetConvolutionGroupCount) BLAS(cudnnSetConvolutionMathType) BLAS(cudnnDestroyTensorDescriptor) BLAS(cudnnDestroyFilterDescriptor)
BLAS(cudnnDestroyConvolutionDescriptor) BLAS(cudnnConvolutionForward) BLAS(cudnnConvolutionBackwardData) BLAS(cudnnConvolutionBackwardFilter)

/* --- cuDNN's batch norm: no workspace, and nothing kept for an activation, which it is not fused with --- */
API int cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize(void *h, int m, int o, void *x, void *z, void *y, void *w, void *a, size_t *n) { (void)h; (void)m; (void)o; (void)x; (void)z; (void)y; (void)w; (void)a; return workspace(n); }
API int cudnnGetBatchNormalizationBackwardExWorkspaceSize(void *h, int m, int o, void *x, void *y, void *dy, void *dz, void *dx, void *w, void *a, size_t *n) { (void)h; (void)m; (void)o; (void)x; (void)y; (void)dy; (void)dz; (void)dx; (void)w; (void)a; return workspace(n); }
API int cudnnGetBatchNormalizationTrainingExReserveSpaceSize(void *h, int m, int o, void *a, void *x, size_t *n) { (void)h; (void)m; (void)o; (void)a; (void)x; *n = 0; return 0; }
BLAS(cudnnBatchNormalizationForwardTrainingEx) BLAS(cudnnBatchNormalizationForwardInference) BLAS(cudnnBatchNormalizationBackwardEx)

/* --- cuDNN's newer interface, of graphs: convolutions in every type. One engine without knobs and notes; its plan asks for
 *     SAMATTN_DRY_CUDNN_WORKSPACE bytes. Numbers of attributes are those of cudnn_graph_v9.h --- */
enum { HEURISTIC_RESULTS = 202, CONFIG_ENGINE = 300, PLAN_WORKSPACE = 402, PLAN_JSON = 405, GRAPH_ENGINES = 802, ENGINE_INDEX = 1301 };
API int cudnnBackendCreateDescriptor(int type, void **d) { (void)type; *d = handle(); return 0; }
API int cudnnBackendGetAttribute(void *d, int attribute, int type, long long want, long long *n, void *out) {
    (void)d; (void)type;
    long long value, count = 1;
    switch (attribute) {
    case HEURISTIC_RESULTS: case CONFIG_ENGINE: value = -1; break; /* the caller made the descriptors already */
    case PLAN_WORKSPACE: value = (long long)number("SAMATTN_DRY_CUDNN_WORKSPACE", 0); break;
    case GRAPH_ENGINES: value = 1; break;
    case ENGINE_INDEX: value = 0; break;
    case PLAN_JSON: value = -1; if (want > 0 && out) memcpy(out, "{}", want < 3 ? (size_t)want : 3); count = 3; break;
    default: value = -1; count = 0; TRACE("cuDNN attribute %d: none\n", attribute);
    }
    if (value >= 0 && want > 0 && out) *(long long *)out = value;
    if (n) *n = count;
    return 0;
}
BLAS(cudnnBackendDestroyDescriptor) BLAS(cudnnBackendSetAttribute) BLAS(cudnnBackendFinalize) BLAS(cudnnBackendExecute)

/* --- NVML, by a link libnvidia-ml.so.1 to this library in LD_LIBRARY_PATH (expandable segments ask it) --- */
API int nvmlInit_v2(void) { return 0; }
API int nvmlDeviceGetHandleByPciBusId_v2(const char *s, void **d) { (void)s; *d = handle(); return 0; }
API int nvmlDeviceGetGpuFabricInfoV(void *d, void *i) { (void)d; (void)i; return 3; /* not supported */ }
API int nvmlDeviceGetComputeRunningProcesses(void *d, unsigned *n, void *i) { (void)d; (void)i; *n = 0; return 0; }
API int nvmlDeviceGetNvLinkRemoteDeviceType(void *d, unsigned l, int *t) { (void)d; (void)l; (void)t; return 3; }
API int nvmlDeviceGetNvLinkRemotePciInfo_v2(void *d, unsigned l, void *p) { (void)d; (void)l; (void)p; return 3; }
API int nvmlSystemGetCudaDriverVersion_v2(int *v) { *v = CUDART_VERSION; return 0; }

/* --- for the tests: what the stub itself counted --- */
API unsigned long long samattn_dry_launches(void) { return n_launch; }
API unsigned long long samattn_dry_mallocs(void) { return n_malloc; }
API unsigned long long samattn_dry_frees(void) { return n_free; }
API unsigned long long samattn_dry_modules(void) { return n_module; }
API unsigned long long samattn_dry_driver_launches(void) { return n_driver_launch; }
API unsigned long long samattn_dry_captures(void) { return n_capture; }
API unsigned long long samattn_dry_graph_launches(void) { return n_graph_launch; }
API unsigned long long samattn_dry_in_use(void) { return in_use; }
