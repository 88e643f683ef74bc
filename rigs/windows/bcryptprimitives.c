/*
 * bcryptprimitives.dll for Wine 8, which does not have it: Rust's standard library takes its random numbers from
 * ProcessPrng.
 */
#include <windows.h>
#include <ntsecapi.h>

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE bytes, SIZE_T size)
{
    for (SIZE_T at = 0; at < size;) {
        ULONG part = size - at < 0x10000000 ? (ULONG)(size - at) : 0x10000000;
        if (!RtlGenRandom(bytes + at, part))
            return FALSE;
        at += part;
    }
    return TRUE;
}
