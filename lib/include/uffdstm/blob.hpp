// SPDX-License-Identifier: MIT
/*
 * uffdstm/blob.hpp - uffdstm/blob.h in C++: bytes of any length in the heap
 *
 *	stm::blob name = stm::blob::make("Ada");
 *
 *	name.append(" Lovelace");
 *	std::string text = name.string();
 */
#ifndef UFFDSTM_BLOB_HPP
#define UFFDSTM_BLOB_HPP

#include <string>
#include <string_view>

#include <uffdstm.hpp>
#include <uffdstm/blob.h>

namespace stm
{

namespace detail
{
extern "C" {
std::uintptr_t stm_blob_new(const void *bytes, std::size_t len);
void stm_blob_free(std::uintptr_t blob);
std::size_t stm_blob_length(std::uintptr_t blob);
std::size_t stm_blob_get(std::uintptr_t blob, std::size_t from, void *to, std::size_t len);
int stm_blob_compare(std::uintptr_t blob, const void *bytes, std::size_t len);
int stm_blob_set(std::uintptr_t blob, const void *bytes, std::size_t len);
int stm_blob_write(std::uintptr_t blob, std::size_t from, const void *bytes, std::size_t len);
int stm_blob_append(std::uintptr_t blob, const void *bytes, std::size_t len);
int stm_blob_resize(std::uintptr_t blob, std::size_t len);
}
} // namespace detail

// The value of C's pointer. For transactions. Calls that need memory throw std::bad_alloc, and have changed nothing
// then.
class blob : public detail::handle
{
public:
	using handle::handle;

	static blob make(std::string_view bytes = {})
	{
		return blob(detail::made(detail::stm_blob_new(bytes.data(), bytes.size()), "stm_blob_new"));
	}
	void free() const
	{
		detail::stm_blob_free(address);
	}
	std::size_t length() const
	{
		return detail::stm_blob_length(address);
	}
	// Up to @len bytes from byte @from on.
	std::string string(std::size_t from = 0, std::size_t len = std::string::npos) const
	{
		const std::size_t all = length(), left = from < all ? all - from : 0;
		std::string s(len < left ? len : left, '\0');

		detail::stm_blob_get(address, from, s.data(), s.size());
		return s;
	}
	// 0, or as memcmp(3): less or more than 0.
	int compare(std::string_view bytes) const
	{
		return detail::stm_blob_compare(address, bytes.data(), bytes.size());
	}
	void set(std::string_view bytes) const
	{
		detail::stored(detail::stm_blob_set(address, bytes.data(), bytes.size()), "stm_blob_set");
	}
	// Over those from byte @from on; grows as it must.
	void write(std::size_t from, std::string_view bytes) const
	{
		detail::stored(detail::stm_blob_write(address, from, bytes.data(), bytes.size()), "stm_blob_write");
	}
	void append(std::string_view bytes) const
	{
		detail::stored(detail::stm_blob_append(address, bytes.data(), bytes.size()), "stm_blob_append");
	}
	void resize(std::size_t len) const
	{
		detail::stored(detail::stm_blob_resize(address, len), "stm_blob_resize");
	}
};

} // namespace stm

#endif
